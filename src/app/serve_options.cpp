#include "app/serve_options.hpp"

#include <algorithm>
#include <bit>
#include <charconv>

#include "app/membership.hpp"
#include "baton/peer/address.hpp"
#include "baton/router/policy.hpp"
#include "baton/tensor/group.hpp"

namespace baton {

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool has_cluster(const ServeOptions& o) {
  return !o.peer_listen.empty() || !o.peers.empty() || !o.dns.empty() || !o.etcd.empty();
}

namespace {

// In a file these are a table of their own, [ucx].
ConfigRow ucx_row(std::map<std::string, std::string>& target) {
  ConfigRow row;
  row.flag = "--ucx";
  row.value_name = "KEY=VALUE";
  row.help = "a setting of UCX without its prefix UCX_, as in the file's [ucx]; may be repeated";
  row.repeatable = true;
  row.set = [&target](const std::string& value) -> Result<void> {
    const std::size_t equals = value.find('=');
    if (equals == 0 || equals == std::string::npos)
      return make_error(ErrorCode::invalid_argument, "--ucx: '" + value + "' is not KEY=VALUE", "--ucx");
    target[value.substr(0, equals)] = value.substr(equals + 1);
    return {};
  };
  row.get = [&target] {
    std::vector<std::string> values;
    values.reserve(target.size());
    for (const auto& [key, value] : target) values.push_back(std::string(key).append("=").append(value));
    return values;
  };
  return row;
}

}  // namespace

std::vector<ConfigRow> serve_rows(ServeOptions& o) {
  using namespace std::chrono_literals;
  constexpr std::int64_t kMany = 1 << 20;
  return {
      string_row({"--model", "model.path", "DIR",
                  "Hugging Face directory of the model; without it the bundled demo model is served"},
                 o.model),
      list_row({"--served-model-name", "model.served_names", "NAME",
                "name that clients use; may be repeated, the first is what answers say"},
               o.served_names),
      list_row({"--lora", "model.lora", "NAME=DIR",
                "LoRA adapter (a PEFT directory) that clients use as model NAME; may be repeated"},
               o.adapters),
      int_row({"--max-context", "model.max_context", "TOKENS",
               "longest prompt plus answer; 0: what the model was trained for"},
              0, 1 << 30, o.max_context),
      choice_row({"--tool-call-parser", "model.tool_call_parser", "FORMAT",
                  "how the model writes tool calls: auto (what its chat template shows), none, hermes, "
                  "llama3_json, mistral, qwen3_coder (also qwen3_xml), glm45 (also glm47), "
                  "pythonic (also llama4_pythonic) or harmony (also openai)"},
                 {"auto", "none", "hermes", "llama3_json", "mistral", "qwen3_coder", "qwen3_xml", "glm45",
                  "glm47", "pythonic", "llama4_pythonic", "harmony", "openai"},
                 o.tool_call_parser),
      choice_row(
          {"--reasoning-parser", "model.reasoning_parser", "FORMAT",
           "how the model writes its reasoning: auto, none, think (<think>...</think>) or harmony (also "
           "openai_gptoss; gpt-oss)"},
          {"auto", "none", "think", "harmony", "openai_gptoss"}, o.reasoning_parser),
      choice_row(
          {"--embeddings", "model.embeddings", "auto|on|off",
           "POST /v1/embeddings; auto: where the model was trained for it and pools by the last token"},
          {"auto", "on", "off"}, o.embeddings),

      string_row({"--host", "http.host", "ADDRESS", "address that the HTTP port binds to"}, o.host),
      int_row({"--port", "http.port", "PORT", "HTTP port; 0: any free one"}, 0, 65535, o.port),
      string_row({"--api-key-file", "http.api_key_file", "FILE",
                  "keys that clients must have, one line each (baton api-key); read again when it changes"},
                 o.api_key_file),
      string_row({"--tls-cert", "http.tls_cert", "FILE",
                  "certificate chain in PEM: HTTP over TLS only; read again when it changes"},
                 o.tls_cert),
      string_row({"--tls-key", "http.tls_key", "FILE", "private key of --tls-cert in PEM"}, o.tls_key),
      string_row({"--admin-listen", "http.admin_listen", "HOST:PORT",
                  "where /metrics, /cluster and /route/explain are instead of on the HTTP port"},
                 o.admin_listen),
      duration_row({"--request-timeout", "http.request_timeout", "TIME", "longest time for one request"}, 1ms,
                   o.request_timeout),
      duration_row(
          {"--queue-timeout", "router.queue_timeout", "TIME", "longest wait in an engine's queue; then 429"},
          1ms, o.queue_timeout),
      duration_row({"--prefill-timeout", "router.prefill_timeout", "TIME",
                    "longest time from the queue to the first token; then the request starts over elsewhere"},
                   1ms, o.prefill_timeout),
      duration_row({"--token-timeout", "router.token_timeout", "TIME",
                    "longest time between two tokens; then the request goes on elsewhere"},
                   1ms, o.token_timeout),
      duration_row({"--admission-ttft", "router.admission_ttft", "TIME",
                    "refuse requests (429) whose first token is predicted to take longer; 0s: none"},
                   0ms, o.admission_ttft),
      duration_row({"--drain-timeout", "http.drain_timeout", "TIME",
                    "on SIGTERM, time that running requests may still take"},
                   0ms, o.drain_timeout),

      comma_row({"--role", "engine.role", "ROLE",
                 "mixed, prefill (computes prompts) or decode (generates); with --devices also one for each, "
                 "as prefill,decode"},
                {"mixed", "prefill", "decode"}, o.role),
      choice_row({"--roles", "router.roles", "static|auto",
                  "auto: engines change roles while they run, to keep the two targets below"},
                 {"static", "auto"}, o.roles),
      duration_row({"--ttft-target", "router.ttft_target", "TIME", "wanted time to the first token"}, 1ms,
                   o.ttft_target),
      duration_row({"--itl-target", "router.itl_target", "TIME", "wanted time between tokens"}, 1ms,
                   o.itl_target),
      int_row({"--block-size", "engine.block_size", "TOKENS", "tokens in a KV block"}, 1, 256, o.block_size),
      size_row({"--kv-memory", "engine.kv_memory", "SIZE",
                "memory for the KV cache, as 512M, 8G or a share of the memory, 80%"},
               o.kv_memory),
      int_row({"--max-sequences", "engine.max_sequences", "N", "sequences in one step"}, 1, kMany,
              o.max_sequences),
      int_row({"--max-batch-tokens", "engine.max_batch_tokens", "N",
               "tokens computed in one step; longer prompts are prefilled in chunks"},
              1, kMany, o.max_batch_tokens),
      int_row(
          {"--draft-tokens", "engine.draft_tokens", "N",
           "tokens to guess at in each step of an answer, looked up in its text, and to compute beside the "
           "newest one: faster where answers repeat what is there, the same tokens; 0: none"},
          0, 64, o.draft_tokens),
      int_row(
          {"--max-waiting", "engine.max_waiting", "N", "requests queued beyond the running ones; then 429"},
          1, kMany, o.max_waiting),
      int_row({"--threads", "engine.threads", "N", "threads of the CPU engine; 0: one per core"}, 0, 1024,
              o.threads),
      choice_row({"--isa", "engine.isa", "ISA",
                  "instruction set of the CPU kernels: auto, portable, avx2 or avx512"},
                 {"auto", "portable", "avx2", "avx512"}, o.isa),

      string_row(
          {"--device", "engine.device", "DEVICE",
           "cpu; cuda: the first GPU, and an error where there is none; cuda:N: GPU N, from 0; auto: the "
           "first GPU, else the CPU"},
          o.device),
      comma_row(
          {"--devices", "engine.devices", "DEVICE,DEVICE",
           "instead of --device: an engine for each (or for each --tensor-parallel of them), watched over "
           "by this process, as 0,1 (GPUs), cpu,cpu or all; ports count up from those that are given"},
          {}, o.devices),
      comma_row(
          {"--tensor-parallel", "engine.tensor_parallel", "N",
           "devices that share each layer of the model: with --device cuda:K the GPUs from K on, on the CPU "
           "N groups of threads; with --devices each engine takes so many of them, and 2,4 gives the "
           "first engine two and the second four"},
          {"1", "2", "3", "4", "5", "6", "7", "8"}, o.tensor_parallel),
      switch_row(
          {"--exit-on-device-failure", "engine.exit_on_device_failure", "",
           "drain and exit with status 3 when the device has failed for good, for whoever starts daemons "
           "again; otherwise go on as a frontend of the other engines"},
          o.exit_on_device_failure),
      size_row({"--gpu-memory", "engine.gpu_memory", "SIZE",
                "GPU memory to use in all: the KV cache gets what weights and workspace leave of it"},
               o.gpu_memory),
      choice_row({"--kv-dtype", "engine.kv_dtype", "TYPE",
                  "element of the KV cache; auto: f32 for f32 models, else bf16; fp8 is e4m3"},
                 {"auto", "f32", "f16", "bf16", "fp8"}, o.kv_dtype),
      choice_row({"--quantization", "engine.quantization", "none|fp8",
                  "fp8: weights are rounded to e4m3 with a scale for each output when they are loaded"},
                 {"none", "fp8"}, o.quantization),
      choice_row(
          {"--deterministic", "engine.deterministic", "on|off",
           "on: on a GPU, too, a row's products do not depend on how many rows a step has (slower prefill)"},
          {"on", "off"}, o.deterministic),

      string_row({"--node-name", "cluster.node_name", "NAME",
                  "name of this node in its cluster; default: host name and HTTP port"},
                 o.node_name),
      string_row(
          {"--peer-listen", "cluster.peer_listen", "HOST:PORT",
           "where other daemons connect to; port 0: any free one; without it, --peer, --dns and --etcd this "
           "node is alone"},
          o.peer_listen),
      list_row({"--peer", "cluster.peers", "HOST:PORT", "another daemon's --peer-listen; may be repeated"},
               o.peers),
      list_row(
          {"--dns", "cluster.dns", "NAME:PORT",
           "a name whose addresses are daemons, or, with SRV records, _peer._tcp.NAME without a port; asked "
           "again and again; may be repeated"},
          o.dns),
      string_row(
          {"--dns-server", "cluster.dns_server", "ADDRESS:PORT", "name server to ask; default: the system's"},
          o.dns_server),
      duration_row(
          {"--dns-interval", "cluster.dns_interval", "TIME", "pause between two rounds of questions"}, 10ms,
          o.dns_interval),
      list_row({"--etcd", "cluster.etcd", "URL",
                "http://HOST:PORT of an etcd (3.4 or later) where daemons find each other; may be repeated"},
               o.etcd),
      string_row(
          {"--etcd-prefix", "cluster.etcd_prefix", "KEY", "what the keys of this cluster's nodes begin with"},
          o.etcd_prefix),
      string_row({"--advertise", "cluster.advertise", "HOST:PORT",
                  "what others dial, as etcd tells them; default: --peer-listen"},
                 o.advertise),
      string_row({"--cluster-secret-file", "cluster.secret_file", "FILE",
                  "file with the secret that all daemons of the cluster share"},
                 o.secret_file),
      duration_row(
          {"--peer-silence", "cluster.peer_silence", "TIME", "a peer silent for so long counts as gone"},
          100ms, o.peer_silence),
      duration_row({"--transfer-timeout", "cluster.transfer_timeout", "TIME",
                    "a KV handoff that takes longer is given up and recomputed"},
                   1ms, o.transfer_timeout),
      choice_row({"--policy", "router.policy", "NAME",
                  "kv (predicted cost, cached blocks counted in), or for comparison round_robin, "
                  "least_loaded, random"},
                 {policy_names().begin(), policy_names().end()}, o.policy),
      choice_row({"--kv-digests", "cluster.kv_digests", "on|off", "verify each KV block that arrives"},
                 {"on", "off"}, o.kv_digests),
      size_row({"--index-memory", "cluster.index_memory", "SIZE",
                "memory for the index of all engines' KV blocks; what does not fit is not remembered"},
               o.index_memory),
      ucx_row(o.ucx),
      switch_row({"--insecure", "cluster.insecure", "",
                  "allow other addresses than loopback without a cluster secret or API keys"},
                 o.insecure),

      choice_row({"--log-level", "log.level", "LEVEL", "debug, info, warn or error"},
                 {"debug", "info", "warn", "error"}, o.log_level),
      choice_row({"--log-format", "log.format", "FORMAT", "text or json"}, {"text", "json"}, o.log_format),
      string_row(
          {"--faults", "faults.points", "SPEC", "for drills: named points that fail, see docs/ENGINE.md"},
          o.faults),
  };
}

std::vector<std::string> serve_flags(ServeOptions options) {
  ServeOptions untouched;
  const std::vector<ConfigRow> rows = serve_rows(options), defaults = serve_rows(untouched);
  std::vector<std::string> flags;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::vector<std::string> values = rows[i].get();
    if (values == defaults[i].get()) continue;
    for (const std::string& value : values)
      flags.push_back(rows[i].is_switch() ? rows[i].flag : rows[i].flag + '=' + value);
  }
  return flags;
}

namespace {

Result<void> check_http(const ServeOptions& o) {
  const auto bad = [](const std::string& flag, const std::string& what) {
    return make_error(ErrorCode::invalid_argument, flag + what, flag);
  };
  if (o.tls_cert.empty() != o.tls_key.empty())
    return bad(o.tls_cert.empty() ? "--tls-key" : "--tls-cert", ": --tls-cert and --tls-key go together");
  std::string admin_host;
  if (!o.admin_listen.empty()) {
    auto address = parse_host_port(o.admin_listen);
    if (!address) return bad("--admin-listen", ": " + address.error().message);
    admin_host = address->host;
  }
  if (o.insecure || !o.api_key_file.empty()) return {};
  constexpr const char* kReachable =
      " is reachable from other machines: give --api-key-file, or --insecure if you mean it";
  if (!is_loopback(o.host)) return bad("--host", " " + o.host + kReachable);
  if (!admin_host.empty() && !is_loopback(admin_host))
    return bad("--admin-listen", " " + o.admin_listen + kReachable);
  return {};
}

}  // namespace

Result<DeviceChoice> parse_device(const std::string& text, const std::string& flag) {
  if (text == "cpu") return DeviceChoice{};
  if (text == "cuda") return DeviceChoice{0};
  if (text == "auto") return DeviceChoice{0, true};
  constexpr std::string_view kOne = "cuda:";
  DeviceChoice choice;
  const char* const end = text.data() + text.size();
  if (text.starts_with(kOne)) {
    const auto read = std::from_chars(text.data() + kOne.size(), end, choice.gpu);
    if (read.ec == std::errc() && read.ptr == end && choice.gpu >= 0) return choice;
  }
  return make_error(ErrorCode::invalid_argument,
                    flag + " '" + text + "' is not one of cpu, cuda, cuda:N (such as cuda:1), auto", flag);
}

std::optional<std::int32_t> parse_tensor_parallel(const std::string& text) {
  if (text.size() != 1 || text[0] < '1' || text[0] > '0' + kMostRanks) return std::nullopt;
  return text[0] - '0';
}

Result<std::vector<AdapterSource>> parse_adapters(const std::vector<std::string>& texts) {
  std::vector<AdapterSource> sources;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const auto refused = [&](const std::string& why) {
      return make_error(ErrorCode::invalid_argument, "--lora " + text + ": " + why, "--lora");
    };
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
      return refused("must be NAME=DIR");
    if (!std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(equals),
                     [](unsigned char c) { return c > ' ' && c < 0x7F; }))
      return refused("NAME must be of printable ASCII characters without spaces");
    AdapterSource source{text.substr(0, equals), text.substr(equals + 1)};
    if (std::ranges::find(sources, source.name, &AdapterSource::name) != sources.end())
      return refused("another adapter has this name");
    sources.push_back(std::move(source));
  }
  return sources;
}

Result<void> check(const ServeOptions& o) {
  if (auto http = check_http(o); !http) return http;
  auto peer_listen = parse_host_port(o.peer_listen.empty() ? "127.0.0.1:0" : o.peer_listen);
  if (!peer_listen)
    return make_error(ErrorCode::invalid_argument, "--peer-listen: " + peer_listen.error().message,
                      "--peer-listen");
  if (const auto membership = make_membership(o, null_logger()); !membership) return membership.error();
  if (!o.etcd.empty()) {
    if (const auto address = advertised_address(o, 0); !address) return address.error();
  }
  if (!parse_role(o.role))
    return make_error(ErrorCode::invalid_argument,
                      "--role " + o.role + ": several roles need --devices, with a device for each",
                      "--role");
  if (!parse_tensor_parallel(o.tensor_parallel))
    return make_error(
        ErrorCode::invalid_argument,
        "--tensor-parallel " + o.tensor_parallel +
            (o.tensor_parallel.empty() ? ": name a number"
                                       : ": several numbers need --devices, with devices for each"),
        "--tensor-parallel");
  if (const auto adapters = parse_adapters(o.adapters); !adapters) return adapters.error();
  const auto device = parse_device(o.device);
  if (!device) return device.error();
  if (device->gpu >= 0 && !std::has_single_bit(static_cast<std::uint32_t>(o.block_size)))
    return make_error(ErrorCode::invalid_argument,
                      "--block-size must be a power of two with --device " + o.device, "--block-size");
  if (o.secret_file.empty() && !o.insecure && !is_loopback(peer_listen->host)) {
    return make_error(
        ErrorCode::invalid_argument,
        "--peer-listen " + o.peer_listen +
            " is reachable from other machines: give --cluster-secret-file, or --insecure if you mean it",
        "--peer-listen");
  }
  return {};
}

}  // namespace baton
