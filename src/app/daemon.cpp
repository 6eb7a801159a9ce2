#include "app/daemon.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "app/command.hpp"
#include "app/embedding_support.hpp"
#include "app/gpu_blocks.hpp"
#include "app/membership.hpp"
#include "app/readiness.hpp"
#include "app/system.hpp"
#include "app/weights_fit.hpp"
#include "baton/base/clock.hpp"
#include "baton/base/fault.hpp"
#include "baton/base/units.hpp"
#include "baton/engine/engine.hpp"
#include "baton/engine/model_executor.hpp"
#include "baton/engine/warm_up.hpp"
#include "baton/frontend/server.hpp"
#include "baton/model/model.hpp"
#include "baton/peer/address.hpp"
#include "baton/peer/mesh.hpp"
#include "baton/router/router.hpp"
#include "baton/tensor/group.hpp"
#include "baton/text/answer_format.hpp"
#include "baton/text/chat_template.hpp"
#include "baton/text/grammar.hpp"
#include "baton/text/tokenizer.hpp"
#include "baton/transfer/ucx_transport.hpp"

namespace baton {
namespace {

constexpr std::int32_t kLeastBlocks = 2;  // of each group

// An ordinary server's processor, before the engine has made a step; `width` of them.
EngineSetup first_guess(const ModelConfig& config, Quantization quantization, std::int32_t width) {
  EngineSetup guess;
  guess.model = shape_of(config);
  guess.split.tensor = width;
  guess.weights = guess.kv = guess.model.block_scales ? Precision::bf16 : guess.model.stored;
  if (quantization == Quantization::fp8) guess.weights = Precision::fp8;
  guess.system.name = "host";
  guess.system.flops_bf16 = 200e9;
  guess.system.memory_bandwidth = 30e9;
  guess.system.link_bandwidth = 1e9;
  guess.system.link_latency = 1e-3;
  guess.profile.efficiency = {.memory = 0.7, .matmul = 0.7, .attention = 0.4, .layer = 0};
  guess.profile.traits.step = 1e-4;
  guess.profile.traits.sequence = 0;
  return guess;
}

std::string read_secret(const std::string& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  std::string secret = text.str();
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  return secret;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name[0] == '\0' ? "baton" : name;
}

}  // namespace

struct Daemon::Parts {
  Parts(const ServeOptions& o, Logger& l) : options(o), logger(l) {}

  Result<void> choose_device();
  Result<void> load_model();
  AnswerFormat answer_format() const;
  GenerationDefaults generation_defaults() const;
  KvSpec kv_spec() const;
  std::int64_t longest_text() const;
  Result<std::uint64_t> kv_bytes_on_host() const;
  Result<std::uint64_t> kv_bytes_on_gpu();
  Result<std::uint64_t> left_on_gpu(Device device) const;
  Result<void> allocate_cache();
  Result<void> start_cluster_transport();
  Result<void> start_engine();
  Result<void> start_mesh();
  Result<void> start_membership(std::uint16_t peer_port);
  Result<void> start_http();
  Ops& ops() const { return group->rank(0); }
  Quantization quantization() const {
    return options.quantization == "fp8" ? Quantization::fp8 : Quantization::none;
  }
  bool on_gpu() const { return ops().device().kind == DeviceKind::cuda; }
  EngineOptions engine_options() const;
  NodeInfo node_info() const;  // once the transport and HTTP are there

  ServeOptions options;
  Logger& logger;
  SteadyClock clock;
  FaultPoints faults;
  PrometheusMetrics metrics;
  std::unique_ptr<RoutingPolicy> policy;
  std::string secret;
  std::string node_name;
  std::string model_name;
  std::string no_embeddings;        // why the model makes none; empty: it does
  std::unique_ptr<OpsGroup> group;  // the devices of the engine
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  GenerationDefaults generation;
  std::unique_ptr<GrammarCompiler> grammars;
  std::unique_ptr<ChatTemplate> chat_template;
  std::optional<KvMemory> kv;
  std::unique_ptr<GpuBlocks> gpu_blocks;   // where kv lies on a GPU
  std::unique_ptr<KvTransport> transport;  // after kv, whose memory it registers
  std::unique_ptr<Router> router;          // before engine and mesh, which report to it
  std::unique_ptr<Engine> engine;
  std::unique_ptr<PeerMesh> mesh;
  std::unique_ptr<Membership> membership;  // after the mesh, which it tells whom to dial
  std::unique_ptr<Readiness> readiness;
  std::unique_ptr<HttpServer> http;
  std::uint16_t http_port = 0;
  std::atomic<bool> started = false;  // clients and peers can reach us
};

// No GPU: an error that says why, and the CPU only where `auto` asked for it.
Result<void> Daemon::Parts::choose_device() {
  const auto choice = parse_device(options.device);
  if (!choice) return choice.error();
  const std::int32_t width = parse_tensor_parallel(options.tensor_parallel).value_or(1);
  if (choice->gpu >= 0) {
    auto gpus = make_ops_group(
        {.device = {DeviceKind::cuda, choice->gpu}, .deterministic = options.deterministic == "on"}, width);
    if (gpus) {
      group = *std::move(gpus);
      return {};
    }
    const Error error = gpus.error();
    if (error.field == "--tensor-parallel")
      return make_error(error.code, "--tensor-parallel " + options.tensor_parallel + ": " + error.message,
                        error.field);
    if (!choice->fall_back)
      return make_error(error.code, "--device " + options.device + ": " + error.message, "--device");
    logger.warn("no GPU can be used: the CPU serves", {{"why", error.message}});
  }
  auto made = make_ops_group({.device = {}, .threads = options.threads, .isa = options.isa}, width);
  if (!made) return std::move(made).error();
  group = *std::move(made);
  return {};
}

KvSpec Daemon::Parts::kv_spec() const {
  std::optional<DType> dtype;
  // A GPU's fast kernels want the cache in the type that the model computes in, or in fp8.
  if (on_gpu() && model->config().weights == DType::f16) dtype = DType::f16;
  if (options.kv_dtype == "f32") dtype = DType::f32;
  if (options.kv_dtype == "f16") dtype = DType::f16;
  if (options.kv_dtype == "bf16") dtype = DType::bf16;
  if (options.kv_dtype == "fp8") dtype = DType::e4m3;
  return model->kv_spec(options.block_size, dtype);
}

// Of a GPU's memory the cache gets what is measured to be left, up to --gpu-memory in all; of each GPU of a
// group as much as the fullest has.
Result<std::uint64_t> Daemon::Parts::kv_bytes_on_gpu() {
  const std::int32_t guesses = options.draft_tokens > 0 ? SchedulerLimits{}.draft_rows : 0;
  const std::int32_t sampled_rows = std::max(options.max_sequences, guesses);
  auto warm = warm_up(*model, ops(), kv_spec(), options.max_batch_tokens, sampled_rows, group->width());
  if (!warm) return std::move(warm).error();
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (std::int32_t rank = 0; rank < group->width(); ++rank) {
    const auto left = left_on_gpu(group->rank(rank).device());
    if (!left) return left.error();
    least = std::min(least, *left);
  }
  return least * static_cast<std::uint64_t>(group->width());
}

Result<std::uint64_t> Daemon::Parts::left_on_gpu(Device device) const {
  const auto memory = gpu_memory(device);
  if (!memory) return memory.error();
  const auto allowed = parse_size(options.gpu_memory, memory->total);
  if (!allowed) return allowed.error();
  const std::uint64_t used = memory->total - memory->free;
  if (*allowed <= used)
    return make_error(ErrorCode::out_of_memory,
                      "--gpu-memory " + options.gpu_memory + " is " + format_size(*allowed) +
                          ", but weights and workspace (and "
                          "others on this GPU) take " +
                          format_size(used),
                      "--gpu-memory");
  constexpr std::uint64_t kForRecordings = std::uint64_t{512}
                                           << 20;  // recorded steps, one for each number of rows
  return std::min(*allowed - used, memory->free - std::min(memory->free, kForRecordings));
}

// What the model's files tell, unless the options know better.
// The model's, with the tokens that end an answer in its format.
GenerationDefaults Daemon::Parts::generation_defaults() const {
  GenerationDefaults defaults = model->config().generation;
  for (const TokenId id : end_markers(answer_format(), *tokenizer))
    if (std::ranges::count(defaults.eos_token_ids, id) == 0) defaults.eos_token_ids.push_back(id);
  return defaults;
}

AnswerFormat Daemon::Parts::answer_format() const {
  const std::string_view source = chat_template == nullptr ? std::string_view() : chat_template->source();
  AnswerFormat format = detect_answer_format(source, *tokenizer);
  format.calls = parse_call_format(options.tool_call_parser).value_or(format.calls);
  format.reasoning = parse_reasoning_format(options.reasoning_parser).value_or(format.reasoning);
  return format;
}

Result<void> Daemon::Parts::load_model() {
  const std::filesystem::path directory =
      options.model.empty() ? find_demo_model() : std::filesystem::path(options.model);
  if (directory.empty())
    return make_error(ErrorCode::not_found, "the bundled demo model was not found: give --model", "--model");
  if (options.served_names.empty())
    options.served_names.push_back(std::filesystem::weakly_canonical(directory).filename().string());
  model_name = options.served_names.front();
  auto adapters = parse_adapters(options.adapters);
  if (!adapters) return std::move(adapters).error();
  for (const AdapterSource& adapter : *adapters)
    if (std::ranges::find(options.served_names, adapter.name) != options.served_names.end())
      return make_error(ErrorCode::invalid_argument, "--lora " + adapter.name + ": the model has this name",
                        "--lora");
  if (auto chosen = choose_device(); !chosen) return chosen;
  if (auto fits = weights_fit(directory, *group, quantization()); !fits) return fits;
  const TimePoint begun = clock.now();
  auto loaded = baton::load_model(directory, *group,
                                  {.progress = terminal_progress("loading " + directory.string()),
                                   .quantization = quantization(),
                                   .max_context = options.max_context,
                                   .adapters = *std::move(adapters)});
  if (!loaded) return std::move(loaded).error();
  model = std::move(*loaded);
  if (options.max_context > model->config().max_positions)
    logger.warn("--max-context is more than the model has: the model's is kept to",
                {{"max_context", options.max_context}, {"model", model->config().max_positions}});
  auto text = load_tokenizer(directory);
  if (!text) return std::move(text).error();
  tokenizer = std::move(*text);
  if (tokenizer->vocab_size() > static_cast<std::size_t>(model->config().vocab))
    logger.warn("the tokenizer has ids beyond the model's vocabulary: text that needs them is refused",
                {{"tokenizer", tokenizer->vocab_size()}, {"model", model->config().vocab}});
  if (auto chat = load_chat_template(directory))
    chat_template = std::move(*chat);
  else if (chat.error().code == ErrorCode::not_found)
    logger.warn("the model has no chat template: /v1/chat/completions answers 400");
  else
    return std::move(chat).error();
  if (auto fits = check_together(answer_format()); !fits) return fits;
  generation = generation_defaults();
  grammars = make_grammar_compiler(*tokenizer, generation.eos_token_ids,
                                   special_markers(answer_format(), *tokenizer));
  no_embeddings = why_no_embeddings(options.embeddings, directory);
  logger.info("model loaded", {{"model", model_name},
                               {"path", directory.string()},
                               {"architecture", model->config().architecture},
                               {"device", on_gpu() ? "cuda" : "cpu"},
                               {"tensor_parallel", group->width()},
                               {"numerics", ops().numerics_id()},
                               {"quantization", options.quantization},
                               {"adapters", model->adapters().size()},
                               {"embeddings", no_embeddings.empty() ? "on" : "off"},
                               {"tool_calls", std::string(to_string(answer_format().calls))},
                               {"reasoning", std::string(to_string(answer_format().reasoning))},
                               {"seconds", to_seconds(clock.now() - begun)}});
  return {};
}

Result<std::uint64_t> Daemon::Parts::kv_bytes_on_host() const {
  const MemoryInfo memory = memory_info();
  auto bytes = parse_size(options.kv_memory, memory.total);
  if (!bytes) return std::move(bytes).error();
  if (*bytes > memory.available) {
    return make_error(ErrorCode::out_of_memory,
                      "--kv-memory " + options.kv_memory + " is " + format_size(*bytes) + ", but only " +
                          format_size(memory.available) + " are available",
                      "--kv-memory");
  }
  return *bytes;
}

Result<void> Daemon::Parts::allocate_cache() {
  const auto bytes = on_gpu() ? kv_bytes_on_gpu() : kv_bytes_on_host();
  if (!bytes) return bytes.error();
  const KvSpec spec = kv_spec();
  const KvGroups& groups = spec.layout.groups;
  const std::int32_t least = kLeastBlocks * groups.count();
  // What Batch says of blocks that a window has left.
  if (on_gpu() && groups.windowed > 0 && groups.window < spec.layout.block_size)
    return make_error(ErrorCode::invalid_argument,
                      "--block-size " + std::to_string(spec.layout.block_size) +
                          ": a GPU needs blocks of at most " + std::to_string(groups.window) +
                          " tokens, the model's window",
                      "--block-size");
  auto allocated = KvMemory::allocate(spec, *bytes, least, ops().device(), group->width());
  if (!allocated) {
    const std::string flag = on_gpu() ? "--gpu-memory" : "--kv-memory";
    return make_error(
        allocated.error().code,
        flag + " " + (on_gpu() ? options.gpu_memory : options.kv_memory) + ": " + allocated.error().message,
        flag);
  }
  kv = std::move(*allocated);
  const KvView view = kv->view();
  const std::int64_t longest = std::min<std::int64_t>(model->config().max_positions, longest_text());
  logger.info("KV cache ready",
              {{"blocks", view.blocks},
               {"block_tokens", view.layout.block_size},
               {"block_bytes", view.layout.block_bytes()},
               {"memory", format_size(view.layout.block_bytes() * static_cast<std::size_t>(view.blocks))},
               {"longest_text", longest},
               {"tokens",
                view.layout.groups.tokens_in(static_cast<std::uint64_t>(view.blocks),
                                             static_cast<std::uint64_t>(longest), view.layout.block_size)}});
  return {};
}

Result<void> Daemon::Parts::start_cluster_transport() {
  if (!has_cluster(options)) return {};
  UcxOptions ucx;
  ucx.transport.digests = options.kv_digests == "on";
  ucx.transport.piece_bytes = kv->view().layout.head_bytes();
  ucx.transport.faults = &faults;
  if (const auto listen = parse_host_port(options.peer_listen);
      listen && listen->host != "0.0.0.0" && listen->host != "::")
    ucx.transport.interface_address = listen->host;
  ucx.settings = options.ucx;
  if (on_gpu()) {
    auto copier = group->width() == 1 ? make_device_copier(ops().device())
                                      : make_group_copier(kv->view(), ops().device(), group->width());
    if (!copier) return std::move(copier).error();
    gpu_blocks = std::make_unique<GpuBlocks>(std::move(*copier));
    ucx.transport.memory = gpu_blocks.get();
    ucx.pool_on_gpu = kv->view().ranks == nullptr;  // a group's blocks lie in parts on several GPUs
  }
  ucx.pool = kv->bytes().data();
  ucx.pool_bytes = kv->bytes().size();
  auto made = make_ucx_transport(ucx, logger);
  if (!made && made.error().field == "interface_address")
    return make_error(made.error().code, "--peer-listen " + options.peer_listen + ": " + made.error().message,
                      "--peer-listen");
  if (!made) return std::move(made).error();
  transport = std::move(*made);
  return {};
}

// Of one sequence, alone.
std::int64_t Daemon::Parts::longest_text() const {
  const KvView view = kv->view();
  return view.layout.groups.longest_text(view.blocks, options.max_batch_tokens, options.block_size);
}

EngineOptions Daemon::Parts::engine_options() const {
  EngineOptions e;
  e.node_name = node_name;
  e.role = parse_role(options.role).value_or(Role::mixed);
  const std::int32_t model_context = model->config().max_positions;
  // No sequence can outgrow the whole KV cache: said as the context's length, so that open-ended requests
  // fit.
  const std::int32_t wanted =
      options.max_context > 0 ? std::min(options.max_context, model_context) : model_context;
  e.limits = {
      options.max_sequences, options.max_batch_tokens,
      options.max_waiting,   static_cast<std::int32_t>(std::min<std::int64_t>(wanted, longest_text())),
      options.queue_timeout, options.draft_tokens};
  e.cluster_secret = secret;
  e.model_fingerprint = model->fingerprint();
  for (const AdapterInfo& adapter : model->adapters()) e.adapters.push_back(adapter.fingerprint);
  e.vocab = model->config().vocab;
  e.profile = make_perf_profile(first_guess(model->config(), quantization(), on_gpu() ? group->width() : 1));
  e.transfer_timeout = options.transfer_timeout;
  return e;
}

NodeInfo Daemon::Parts::node_info() const {
  NodeInfo self;
  self.name = node_name;
  self.http_address = options.host + ":" + std::to_string(http_port);
  self.role = parse_role(options.role).value_or(Role::mixed);
  self.model_name = model_name;
  self.model_fingerprint = model->fingerprint();
  self.kv_layout = kv->view().layout.id();
  self.numerics = ops().numerics_id();
  self.version = version_text();
  self.transport_address = transport->address();
  self.max_context = engine_options().limits.max_context;
  self.adapters = engine_options().adapters;
  self.transport = transport->name() + (options.kv_digests == "on" ? "" : " without digests");
  return self;
}

Result<void> Daemon::Parts::start_engine() {
  node_name = options.node_name;
  if (node_name.empty())  // with a port that is not known yet, the process tells nodes of one host apart
    node_name = host_name() + ":" +
                (options.port != 0 ? std::to_string(options.port) : "process-" + std::to_string(::getpid()));
  const EngineOptions e = engine_options();
  RouterOptions r;
  r.node_name = node_name;
  r.block_size = options.block_size;
  r.kv_groups = kv->view().layout.groups;
  r.max_context = e.limits.max_context;
  r.adapters = e.adapters;
  r.first_token_timeout = options.queue_timeout + options.prefill_timeout;
  r.transfer_timeout = options.transfer_timeout;
  r.token_timeout = options.token_timeout;
  r.admission_ttft = options.admission_ttft;
  if (options.roles == "auto")
    r.auto_roles = RoleTargets{to_seconds(options.ttft_target), to_seconds(options.itl_target)};
  auto index_bytes = parse_size(options.index_memory, memory_info().total);
  if (!index_bytes) return std::move(index_bytes).error();
  r.index_bytes = *index_bytes;
  r.hash_key = [secret = secret, fingerprint = e.model_fingerprint,
                layout = kv->view().layout.id()](const std::string& salt) {
    return make_block_hash_key(secret, fingerprint, layout, salt);
  };
  router = std::make_unique<Router>(std::move(r));
  Engine::Parts parts;
  parts.executor = make_model_executor(*model, ops(), kv->view(), clock);
  parts.kv = kv->view();
  parts.transport = transport.get();
  parts.control = router.get();
  parts.clock = &clock;
  parts.logger = &logger;
  parts.faults = &faults;
  engine = std::make_unique<Engine>(e, std::move(parts));
  return {};
}

Result<void> Daemon::Parts::start_mesh() {
  policy = make_policy(options.policy);
  Router::Parts parts{engine.get(), nullptr, transport.get(), policy.get(),
                      &clock,       &logger, &metrics,        grammars.get()};
  if (transport) {
    MeshOptions m;
    const auto listen = parse_host_port(options.peer_listen);
    m.listen_host = listen ? listen->host : "127.0.0.1";
    m.listen_port = listen ? listen->port : 0;
    m.secret = secret;
    m.silence = options.peer_silence;
    mesh = std::make_unique<PeerMesh>(std::move(m), node_info(), *router, logger, metrics);
    parts.mesh = mesh.get();
  }
  engine->start();
  router->start(parts);
  if (!mesh) return {};
  auto port = mesh->start();
  if (!port) return std::move(port).error();
  logger.info("listening for peers", {{"node", node_name},
                                      {"address", options.peer_listen},
                                      {"port", *port},
                                      {"transport", transport->name()},
                                      {"digests", options.kv_digests}});
  return start_membership(*port);
}

Result<void> Daemon::Parts::start_membership(std::uint16_t peer_port) {
  auto made = make_membership(options, logger);
  if (!made) return std::move(made).error();
  membership = *std::move(made);
  membership->watch([this](const std::vector<std::string>& addresses) { mesh->set_peers(addresses); });
  if (options.etcd.empty()) return {};  // nobody to tell
  const auto address = advertised_address(options, peer_port);
  if (!address) return address.error();
  return membership->announce(node_info(), *address);
}

Result<void> Daemon::Parts::start_http() {
  FrontendOptions f;
  f.host = options.host;
  f.port = static_cast<std::uint16_t>(options.port);
  f.request_timeout = options.request_timeout;
  f.max_queued_requests = static_cast<std::size_t>(options.max_waiting + options.max_sequences);
  f.node_name = node_name;
  f.api_key_file = options.api_key_file;
  f.tls_certificate = options.tls_cert;
  f.tls_key = options.tls_key;
  if (const auto admin = parse_host_port(options.admin_listen); admin) f.admin = {admin->host, admin->port};
  ServedModel served;
  served.names = options.served_names;
  served.context = engine_options().limits.max_context;
  served.created = std::time(nullptr);
  served.generation = generation;
  served.vocab = model->config().vocab;
  served.answer = answer_format();
  served.hidden = model->config().hidden;
  served.no_embeddings = no_embeddings;
  served.adapters.assign(model->adapters().begin(), model->adapters().end());
  readiness = std::make_unique<Readiness>(
      *router, [this] { return started && router->ready(); }, clock, logger);
  http = std::make_unique<HttpServer>(
      f, FrontendServices{*router, *tokenizer, chat_template.get(), served, metrics,
                          [this] { return metrics.text(); }, [this] { return engine->stats(); },
                          [this] { return readiness->ready(); }, [this] { return router->cluster(); },
                          [this](const Request& request) { return router->explain(request); },
                          [this](const std::string& node, Role role) { return router->set_role(node, role); },
                          logger, grammars.get()});
  auto port = http->start();
  if (!port) return std::move(port).error();
  http_port = *port;
  if (!options.api_key_file.empty() && options.tls_cert.empty() && !is_loopback(options.host))
    logger.warn(
        "API keys travel unencrypted: give --tls-cert and --tls-key, or let a TLS proxy stand in front");
  if (http->admin_port() != 0)
    logger.info("listening for administration",
                {{"address", options.admin_listen}, {"port", http->admin_port()}});
  return {};
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Daemon>> Daemon::create(const ServeOptions& options, Logger& logger) {
  auto parts = std::make_unique<Parts>(options, logger);
  if (auto armed = parts->faults.configure(options.faults); !armed) return std::move(armed).error();
  if (!options.secret_file.empty()) {
    parts->secret = read_secret(options.secret_file);
    if (parts->secret.empty()) {
      return make_error(ErrorCode::invalid_argument,
                        "--cluster-secret-file " + options.secret_file + " is missing, unreadable or empty",
                        "--cluster-secret-file");
    }
  }
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(parts)));
  Parts& p = *daemon->parts_;
  // HTTP before the mesh: the port it got is part of what peers are told. It answers 503 on /health/ready
  // until peers can reach this node, too.
  for (auto step : {&Parts::load_model, &Parts::allocate_cache, &Parts::start_cluster_transport,
                    &Parts::start_engine, &Parts::start_http, &Parts::start_mesh}) {
    if (auto done = (p.*step)(); !done) return std::move(done).error();
  }
  p.started = true;
  (void)p.readiness->ready();  // the first probe is on its way before anybody asks
  logger.info("serving", {{"url", (options.tls_cert.empty() ? "http://" : "https://") + options.host + ":" +
                                      std::to_string(p.http_port)},
                          {"model", p.model_name},
                          {"role", options.role},
                          {"node", p.node_name}});
  return daemon;
}

Daemon::~Daemon() { stop(); }

void Daemon::reload(bool even_if_unchanged) { parts_->http->reload(even_if_unchanged); }

bool Daemon::device_failed() const { return parts_->engine->stats().device_failed; }

void Daemon::begin_drain() {
  parts_->router->set_draining(true);  // first: peers then move on at once what runs here
  if (parts_->membership) parts_->membership->leave();
  parts_->http->stop_accepting();
}

bool Daemon::drained() const {
  return parts_->http->drain(Duration(0)) && parts_->router->in_flight() == 0 && parts_->engine->idle();
}

void Daemon::stop() {
  Parts& p = *parts_;
  if (p.http) p.http->stop();
  if (p.router) p.router->stop();
  p.membership.reset();  // it calls the mesh
  if (p.mesh) p.mesh->stop();
  if (p.engine) p.engine->stop();
}

}  // namespace baton
