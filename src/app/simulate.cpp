// baton simulate: a cluster in virtual time, against a trace.
#include <CLI/CLI.hpp>
#include <charconv>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/catalog.hpp"
#include "app/command.hpp"
#include "app/deployment.hpp"
#include "app/system.hpp"
#include "baton/router/policy.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/sim/report.hpp"
#include "baton/sim/simulation.hpp"
#include "baton/sim/trace.hpp"

namespace baton {
namespace {

struct Simulate {
  DeploymentOptions choice;
  std::string trace, policy = "kv", loads = "1", slo, json, csv, svg;
  std::int32_t prefill = 0, decode = 0, mixed = 0, block_size = 16, max_sequences = 256,
               max_batch_tokens = 512, requests = 0, shrink = 1, kv_blocks = 0, tensor = 1, decode_tensor = 0,
               concurrency = 0, isl = 4000, osl = 500, seed = 1;
  double memory = 0.9, jitter = 0;
  std::string roles = "static";
  bool compare = false, engines = false;
  Flags flags{rows()};

  std::vector<ConfigRow> rows() {
    std::vector<ConfigRow> all = deployment_rows(choice);
    for (ConfigRow& row : std::vector<ConfigRow>{
             string_row({"--trace", "", "FILE", "Mooncake JSONL or Azure CSV"}, trace),
             int_row({"--tp", "", "N", "GPUs that share each layer of an engine"}, 1, 64, tensor),
             int_row({"--decode-tp", "", "N", "of the decode engines, if not --tp; 0: the same"}, 0, 64,
                     decode_tensor),
             int_row({"--prefill", "", "N", "prefill engines"}, 0, 100000, prefill),
             int_row({"--decode", "", "N", "decode engines"}, 0, 100000, decode),
             int_row({"--mixed", "", "N", "mixed engines"}, 0, 100000, mixed),
             choice_row({"--roles", "", "static|auto",
                         "auto: engines change roles to keep the --slo, or TTFT 2 s and ITL 25 ms"},
                        {"static", "auto"}, roles),
             string_row({"--policy", "", "NAME,...", "of kv, round_robin, least_loaded and random"}, policy),
             int_row({"--concurrency", "", "N",
                      "a closed loop: N requests at a time, each followed by the next; without --trace, "
                      "equal ones"},
                     0, 1 << 20, concurrency),
             int_row({"--isl", "", "N", "prompt tokens of equal requests"}, 1, 1 << 24, isl),
             int_row({"--osl", "", "N", "output tokens of equal requests"}, 1, 1 << 24, osl),
             switch_row({"--compare", "", "", "run every policy"}, compare),
             string_row({"--load", "", "X,...", "arrivals come X times as fast; several give a curve"},
                        loads),
             string_row({"--slo", "", "ttft=2s,itl=25ms", "what counts as good"}, slo),
             int_row({"--requests", "", "N", "only the first N of the trace; 0: all"}, 0, 1 << 30, requests),
             int_row({"--shrink", "", "N", "divide all lengths of the trace by N, a power of two"}, 1, 512,
                     shrink),
             int_row({"--block-size", "", "N", "tokens of a KV block"}, 1, 4096, block_size),
             int_row({"--kv-blocks", "", "N", "KV blocks of an engine; 0: as many as fit"}, 0, 1 << 30,
                     kv_blocks),
             int_row({"--max-sequences", "", "N", "running at once on an engine"}, 1, 65536, max_sequences),
             int_row({"--max-batch-tokens", "", "N", "rows of a step"}, 1, 1 << 20, max_batch_tokens),
             number_row({"--memory-fraction", "", "X", "of an engine's memory for weights and KV cache"},
                        0.01, 1, memory),
             number_row({"--jitter", "", "X", "of a step's time: its standard deviation, as a share"}, 0, 1,
                        jitter),
             int_row({"--seed", "", "N", "of the jitter"}, 0, 1 << 30, seed),
             switch_row({"--engines", "", "", "print each engine's utilisation, too"}, engines),
             string_row({"--json", "", "FILE", "write the results; - for standard output"}, json),
             string_row({"--csv", "", "FILE", "write a line for each request"}, csv),
             string_row({"--svg", "", "FILE",
                         "draw TTFT and goodput over the load, or both latencies' distributions"},
                        svg)})
      all.push_back(std::move(row));
    return all;
  }
};

Error bad(const std::string& what, const std::string& flag) {
  return make_error(ErrorCode::invalid_argument, flag + ": " + what, flag);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

Result<std::vector<double>> parse_loads(const std::string& text) {
  std::vector<double> loads;
  for (const std::string& part : split(text)) {
    double load = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), load);
    if (error != std::errc{} || end != part.data() + part.size() || !(load > 0 && load <= 1e6))
      return bad("'" + part + "' is not a positive number", "--load");
    loads.push_back(load);
  }
  if (loads.empty()) return bad("no load given", "--load");
  return loads;
}

// "ttft=2s,itl=25ms" by the rules of every other duration.
Result<void> parse_slo(const std::string& text, SimOptions& options) {
  for (const std::string& part : split(text)) {
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    if (equals == std::string::npos || (name != "ttft" && name != "itl"))
      return bad("'" + part + "' is not ttft=TIME or itl=TIME", "--slo");
    Duration value{};
    if (auto set =
            duration_row({"--slo " + name, "", "TIME", ""}, Duration(1), value).set(part.substr(equals + 1));
        !set)
      return set;
    (name == "ttft" ? options.slo_ttft : options.slo_itl) = to_seconds(value);
  }
  return {};
}

// Nothing is shared between their prompts; ten for each at a time unless --requests says how many.
Result<std::vector<TraceRequest>> equal_requests(const Simulate& simulate) {
  std::vector<TraceRequest> all(
      static_cast<std::size_t>(simulate.requests > 0 ? simulate.requests : 10 * simulate.concurrency));
  std::uint64_t content = 0;
  for (TraceRequest& request : all) {
    request.input_tokens = simulate.isl;
    request.output_tokens = simulate.osl;
    for (std::int32_t at = 0; at < simulate.isl; at += kTraceChunk) request.content.push_back(content++);
  }
  return all;
}

struct Setting {
  SimOptions options;
  std::vector<TraceRequest> trace;
  std::vector<double> loads;
  std::vector<std::string> policies;
};

// One engine, decode engines' kind or the others'; the options' figures for it.
Result<EngineSetup> find_kind(const Simulate& simulate, Catalog& catalog, bool decode, SimKind& kind) {
  auto engine = find_engine(simulate.choice, catalog, decode);
  if (!engine) return engine;
  engine->split.tensor = decode && simulate.decode_tensor > 0 ? simulate.decode_tensor : simulate.tensor;
  if (auto can = check_split(*engine); !can) return can.error();
  const KvRoom room = kv_room(*engine, simulate.memory, simulate.block_size);
  kind.profile = make_perf_profile(*engine);
  kind.blocks = static_cast<std::int32_t>(std::min(room.blocks, 2e9));
  kind.groups = room.groups;
  if (simulate.kv_blocks > 0) kind.blocks = simulate.kv_blocks;
  if (kind.blocks < 1) return bad("the model does not fit into " + engine->system.name, "--system");
  return engine;
}

Result<Setting> settle(Simulate& simulate) {
  if (auto applied = simulate.flags.apply(); !applied) return applied.error();
  if (simulate.trace.empty() && simulate.concurrency == 0)
    return bad("a trace is needed, or --concurrency with --isl and --osl", "--trace");
  if (simulate.choice.model.empty()) return bad("a model is needed", "--model");
  Catalog catalog;
  catalog.profile_file = simulate.choice.profile_file;
  SimKind kind;
  const auto engine = find_kind(simulate, catalog, false, kind);
  if (!engine) return engine.error();
  Setting setting;
  SimOptions& o = setting.options;
  o.profile = kind.profile, o.blocks = kind.blocks, o.groups = kind.groups;
  if (simulate.decode_tensor > 0 || !simulate.choice.decode_system.empty()) {
    if (const auto decode = find_kind(simulate, catalog, true, o.decode_kind.emplace()); !decode)
      return decode.error();
  }
  o.concurrency = simulate.concurrency;
  o.jitter = simulate.jitter;
  o.seed = static_cast<std::uint64_t>(simulate.seed);
  o.prefill = simulate.prefill, o.decode = simulate.decode, o.mixed = simulate.mixed;
  if (o.prefill + o.decode + o.mixed == 0) o.mixed = 1;
  o.block_size = simulate.block_size;
  o.limits = {simulate.max_sequences, simulate.max_batch_tokens, 1 << 30,
              static_cast<std::int32_t>(engine->model.max_positions)};
  o.vocab = static_cast<std::int32_t>(engine->model.vocab);
  if (auto slo = parse_slo(simulate.slo, o); !slo) return slo.error();
  if (simulate.roles == "auto") {
    o.auto_roles.emplace();
    if (o.slo_ttft > 0) o.auto_roles->ttft = o.slo_ttft;
    if (o.slo_itl > 0) o.auto_roles->itl = o.slo_itl;
  }
  auto loads = parse_loads(simulate.loads);
  if (!loads) return loads.error();
  setting.loads = *std::move(loads);
  if (simulate.compare)
    setting.policies.assign(policy_names().begin(), policy_names().end());
  else
    setting.policies = split(simulate.policy);
  for (const std::string& name : setting.policies)
    if (make_policy(name) == nullptr) return bad("'" + name + "' is no policy", "--policy");
  auto trace = simulate.trace.empty() ? equal_requests(simulate) : read_trace(simulate.trace);
  if (!trace) return trace.error();
  setting.trace = *std::move(trace);
  if (simulate.requests > 0 && static_cast<std::size_t>(simulate.requests) < setting.trace.size())
    setting.trace.resize(static_cast<std::size_t>(simulate.requests));
  if (kTraceChunk % simulate.shrink != 0) return bad("512 is no multiple of it", "--shrink");
  shrink_trace(setting.trace, simulate.shrink);
  std::cout << simulate.choice.model << " on " << o.prefill << " prefill, " << o.decode << " decode and "
            << o.mixed << " mixed engines of " << engine->system.name << " (" << engine->system.provenance
            << "; " << engine->profile.backend << ": " << engine->profile.provenance << ")\n"
            << setting.trace.size() << " requests; " << o.blocks << " blocks of " << o.block_size
            << " tokens an engine; one prompt of 4096 tokens takes "
            << o.profile.prefill_seconds(4096, 0, o.limits.max_batch_tokens) * 1e3
            << " ms, a step of 32 decodes at context 4096 " << o.profile.decode_seconds(32, 32 * 4096) * 1e3
            << " ms\n\n";
  return setting;
}

Result<void> write(const std::string& file, const std::function<void(std::ostream&)>& content) {
  if (file.empty()) return {};
  if (file == "-") {
    content(std::cout);
    return {};
  }
  std::ofstream out(file);
  content(out);
  out.close();
  if (!out) return make_error(ErrorCode::io, "cannot write " + file);
  return {};
}

int run(Simulate& simulate) {
  const auto complain = [](const Error& error) {
    std::cerr << "baton simulate: " << error.message << '\n';
    return error.code == ErrorCode::invalid_argument ? 2 : 1;
  };
  const auto setting = settle(simulate);
  if (!setting) return complain(setting.error());
  std::vector<SimRun> runs;
  for (const double load : setting->loads) {
    for (const std::string& name : setting->policies) {
      SimRun one{name, load, setting->options, {}, {}};
      one.options.load = load;
      const auto policy = make_policy(name);
      auto report = baton::simulate(one.options, setting->trace, *policy,
                                    count_progress(name + " at load " + std::to_string(load)));
      if (!report) return complain(report.error());
      one.report = *std::move(report);
      one.summary = summarize(one.report, one.options);
      runs.push_back(std::move(one));
    }
  }
  if (simulate.json != "-") print_table(std::cout, runs);
  if (simulate.engines) print_engines(std::cout, runs.back().report);
  if (auto done = write(simulate.json, [&](std::ostream& out) { out << to_json(runs).dump(2) << '\n'; });
      !done)
    return complain(done.error());
  if (auto done = write(simulate.csv, [&](std::ostream& out) { write_csv(out, runs); }); !done)
    return complain(done.error());
  if (auto done = write(simulate.svg, [&](std::ostream& out) { write_svg(out, runs); }); !done)
    return complain(done.error());
  return 0;
}

}  // namespace

void add_simulate(CLI::App& app, Chosen& chosen) {
  auto simulate = std::make_shared<Simulate>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand("simulate", "Run a cluster in virtual time against a trace");
  simulate->flags.add_to(*command);
  command->callback([simulate, &chosen] { chosen.run = [simulate] { return run(*simulate); }; });
}

}  // namespace baton
