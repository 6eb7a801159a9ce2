// The planner's inputs: the first byte says which, the rest is its text. Whatever the bytes, parsing ends;
// what is accepted gives estimates that are numbers.
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "baton/plan/rows.hpp"

namespace {

using namespace baton;

EngineSetup usual() {
  EngineSetup e;
  e.model.layers = e.model.attention_layers = e.model.dense_layers = 2;
  e.model.hidden = 64, e.model.ffn = 128, e.model.vocab = 100, e.model.query_heads = 4, e.model.kv_heads = 2;
  e.model.head_dim = 16;
  e.system.flops_bf16 = 1e12, e.system.memory_bandwidth = 1e11, e.system.memory_bytes = 1e10;
  e.system.link_bandwidth = 1e9;
  return e;
}

void must_be_numbers(const EngineSetup& e, const Workload& load, double batch) {
  const Estimate a = estimate_aggregated(e, load, batch);
  const Estimate d = estimate_disaggregated({e, e, 1, 1, 1, batch}, load);
  for (const double value : {a.ttft, a.tpot, a.tokens_per_gpu, d.ttft, d.tpot, d.tokens_per_gpu})
    if (!std::isfinite(value) || value < 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  EngineSetup e = usual();
  Workload load{1000, 100, 0};
  double batch = 8;
  if (data[0] == 'm') {
    const auto shape = parse_model_shape(text, "fuzz");
    if (!shape) return 0;
    e.model = *shape;
  } else if (data[0] == 's') {
    const auto system = parse_system_spec(text, "fuzz");
    if (!system) return 0;
    e.system = *system;
    if (system->baton) e.profile = *system->baton;
  } else if (data[0] == 'p') {
    const auto profile = parse_engine_profile(text, "fuzz", "h200_sxm", Precision::fp8);
    if (!profile) return 0;
    e.profile = *profile;
  } else {
    std::istringstream in(text);
    const auto rows = read_rows(in, "fuzz");
    if (!rows) return 0;
    for (const DeploymentRow& row : *rows) {
      e.split = split_of(row.split, true);
      must_be_numbers(e, row.load, row.batch);
    }
    return 0;
  }
  must_be_numbers(e, load, batch);
  return 0;
}
