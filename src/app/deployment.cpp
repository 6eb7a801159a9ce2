#include "app/deployment.hpp"

#include <charconv>

#include "baton/model/capability.hpp"

namespace baton {
namespace {

// What TCP reaches of an Ethernet link's rate, and its latency: one stream is bound by a core.
constexpr double kTcpShare = 0.75, kTcpLatency = 200e-6, kRdmaLatency = 20e-6;

Precision kv_precision(const EngineSetup& engine, const std::string& wanted) {
  if (!wanted.empty() && wanted != "auto") return *parse_precision(wanted);
  const bool wide = engine.weights == Precision::bf16 || engine.weights == Precision::f32;
  return wide ? engine.weights : engine.profile.traits.quantized_kv;
}

}  // namespace

std::vector<ConfigRow> deployment_rows(DeploymentOptions& o) {
  return {
      string_row({"--model", "", "NAME", "a directory, a config.json, or a name in configs/models"}, o.model),
      string_row({"--system", "", "NAME", "a name in configs/systems, or a file like those"}, o.system),
      string_row({"--decode-system", "", "NAME", "where decode engines run, if elsewhere"}, o.decode_system),
      string_row({"--backend", "", "NAME", "whose efficiencies: baton, vllm, trtllm or sglang"}, o.backend),
      choice_row({"--precision", "", "bf16|fp8|fp4|int4", "of the weights; the checkpoint's unless given"},
                 {"bf16", "fp8", "fp4", "int4", "f32"}, o.precision),
      choice_row({"--kv-dtype", "", "auto|bf16|fp8", "of the KV cache"}, {"auto", "bf16", "fp8", "f32"},
                 o.kv_dtype),
      string_row({"--link", "", "NAME", "between engines: rdma400, rdma200, tcp25 ..., in Gbit/s"}, o.link),
      string_row({"--profile", "", "FILE", "the backend's efficiencies, instead of the shipped ones"},
                 o.profile_file)};
}

Result<Link> parse_link(const std::string& name) {
  const bool rdma = name.starts_with("rdma"), tcp = name.starts_with("tcp");
  const std::string rate = name.substr(std::min<std::size_t>(name.size(), rdma ? 4 : 3));
  double gigabits = 0;
  const auto [end, error] = std::from_chars(rate.data(), rate.data() + rate.size(), gigabits);
  if ((!rdma && !tcp) || error != std::errc{} || end != rate.data() + rate.size() ||
      !(gigabits > 0 && gigabits <= 1e5))
    return make_error(
        ErrorCode::invalid_argument,
        "--link: '" + name + "' is not rdma or tcp and a rate in Gbit/s, such as rdma400 or tcp25", "--link");
  return Link{gigabits * 1e9 / 8 * (tcp ? kTcpShare : 1), tcp ? kTcpLatency : kRdmaLatency};
}

Result<EngineSetup> find_engine(const DeploymentOptions& options, Catalog& catalog, bool decode) {
  EngineSetup engine;
  auto model = catalog.model(options.model);
  if (!model) return model.error();
  const bool elsewhere = decode && !options.decode_system.empty();
  auto system =
      elsewhere ? catalog.system(options.decode_system, "--decode-system") : catalog.system(options.system);
  if (!system) return system.error();
  engine.model = *std::move(model);
  engine.system = *std::move(system);
  engine.weights = options.precision.empty() ? engine.model.stored : *parse_precision(options.precision);
  const bool expanded = engine.weights == Precision::int4 || engine.weights == Precision::fp4;
  if (options.backend == "baton" && options.precision.empty() && expanded)
    engine.weights = Precision::bf16;  // what they are when they are loaded
  auto profile = catalog.profile(options.backend, engine.system, engine.weights);
  if (!profile) return profile.error();
  engine.profile = *std::move(profile);
  engine.kv = kv_precision(engine, options.kv_dtype);
  if (!options.link.empty()) {
    const auto link = parse_link(options.link);
    if (!link) return link.error();
    engine.system.link_bandwidth = link->bandwidth;
    engine.system.link_latency = link->latency;
  }
  return engine;
}

Result<void> check_split(const EngineSetup& engine) {
  const Split& split = engine.split;
  if (engine.profile.backend != "baton" || split.gpus() == 1) return {};
  if (split.pipeline > capability().pipeline || split.data > capability().data)
    return make_error(ErrorCode::unsupported,
                      "an engine of baton serve has no pipeline and no groups with requests of their own",
                      split.pipeline > capability().pipeline ? "--pp" : "--dp");
  if (split.tensor > engine.system.node_gpus)
    return make_error(ErrorCode::unsupported,
                      std::to_string(split.tensor) + " GPUs are to share each layer, but a machine has " +
                          std::to_string(static_cast<int>(engine.system.node_gpus)) + " (" +
                          engine.system.name + ")",
                      "--tp");
  return shareable(engine.model, split.tensor);
}

Result<Estimate> estimate_row(DeploymentRow& row, const DeploymentOptions* options, Catalog& catalog,
                              std::string& provenance) {
  DeploymentOptions own;
  if (options == nullptr) {
    own.model = row.model, own.system = row.system, own.backend = row.backend;
    own.precision = to_string(row.precision);
    options = &own;
  }
  auto engine = find_engine(*options, catalog);
  if (!engine) return engine.error();
  provenance = engine->profile.provenance;
  if (row.version.empty()) row.version = engine->profile.version;
  row.precision = engine->weights;
  const bool experts = engine->model.experts > 0;
  if (!row.disaggregated) {
    engine->split = split_of(row.split, experts);
    if (auto can = check_split(*engine); !can) return can.error();
    return estimate_aggregated(*engine, row.load, row.batch);
  }
  auto decode = find_engine(*options, catalog, true);
  if (!decode) return decode.error();
  Disaggregated setup{*std::move(engine), *std::move(decode), row.prefill_workers,
                      row.decode_workers, row.prefill_batch,  row.decode_batch};
  setup.prefill.split = split_of(row.prefill, experts);
  setup.decode.split = split_of(row.decode, experts);
  for (const EngineSetup* each : {&setup.prefill, &setup.decode})
    if (auto can = check_split(*each); !can) return can.error();
  return estimate_disaggregated(setup, row.load);
}

}  // namespace baton
