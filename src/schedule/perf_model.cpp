#include "baton/schedule/perf_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "baton/schedule/scheduler.hpp"

namespace baton {
namespace {

constexpr double kMaxCorrection = 50;        // a profile is never wrong by more than this
constexpr double kCalibrationWeight = 0.05;  // of the newest step

double bytes_of(DType type) { return static_cast<double>(size_of(type)); }

}  // namespace

Result<SystemSpec> parse_system_spec(std::string_view json, const std::string& file) {
  const auto document = nlohmann::json::parse(json, nullptr, false);
  if (!document.is_object())
    return make_error(ErrorCode::invalid_argument, file + ": not a JSON object", "system");
  SystemSpec spec;
  std::string wrong;
  const auto text = [&](const char* key, std::string& target) {
    if (document.contains(key) && document[key].is_string())
      target = document[key].get<std::string>();
    else if (wrong.empty())
      wrong = key;
  };
  const auto number = [&](const nlohmann::json& object, const char* key, double minimum, double& target) {
    if (object.is_object() && object.contains(key) && object[key].is_number() &&
        object[key].get<double>() >= minimum)
      target = object[key].get<double>();
    else if (wrong.empty())
      wrong = key;
  };
  text("name", spec.name);
  text("provenance", spec.provenance);
  number(document, "matmul_flops", 1, spec.matmul_flops);
  number(document, "memory_bandwidth", 1, spec.memory_bandwidth);
  number(document, "memory_bytes", 1, spec.memory_bytes);
  number(document, "link_bandwidth", 1, spec.link_bandwidth);
  number(document, "link_latency", 0, spec.link_latency);
  number(document, "step_overhead", 0, spec.step_overhead);
  const auto efficiency = document.find("efficiency");
  const nlohmann::json& reached = efficiency == document.end() ? document : *efficiency;
  number(reached, "matmul", 1e-3, spec.matmul_efficiency);
  number(reached, "attention", 1e-3, spec.attention_efficiency);
  number(reached, "memory", 1e-3, spec.memory_efficiency);
  number(reached, "link", 1e-3, spec.link_efficiency);
  if (!wrong.empty())
    return make_error(ErrorCode::invalid_argument, file + ": '" + wrong + "' is missing or out of range",
                      wrong);
  return spec;
}

ModelCost model_cost(const ModelConfig& c) {
  const double hidden = c.hidden, layers = c.layers, head_dim = c.head_dim, vocab = c.vocab;
  const double queries = c.query_heads * head_dim, keys = c.kv_heads * head_dim;
  const double layer = hidden * (queries + 2 * keys) + queries * hidden + 3 * hidden * c.ffn;
  const double width = bytes_of(c.weights);
  ModelCost cost;
  cost.streamed_bytes = (layers * layer + vocab * hidden) * width;
  cost.weight_bytes = cost.streamed_bytes + (c.tied_embeddings ? 0 : vocab * hidden * width);
  cost.flops_per_token = 2 * layers * layer;
  cost.flops_per_logits = 2 * vocab * hidden;
  cost.flops_per_pair = 4 * layers * queries;
  cost.kv_bytes_per_token = 2 * layers * keys * width;
  return cost;
}

StepShape step_shape(const StepPlan& plan) {
  StepShape shape;
  for (const PlannedRows& rows : plan.rows) {
    const double n = rows.rows, before = rows.first_position;
    shape.tokens += n;
    shape.sampled += rows.sample ? 1 : 0;
    shape.pairs += n * before + n * (n + 1) / 2;
    shape.kv_tokens += before + n;
  }
  return shape;
}

double PerfProfile::step_seconds(const StepShape& s) const {
  return step + std::max(weights, token * s.tokens + logits * s.sampled) +
         std::max(pair * s.pairs, kv_token * s.kv_tokens);
}

// All chunks at once: what is not a whole number of chunks is taken as a part of one.
double PerfProfile::prefill_seconds(double tokens, double cached, double chunk) const {
  if (tokens <= 0) return 0;
  const double size = std::min(std::max(chunk, 1.0), tokens), chunks = tokens / size;
  const double pairs = tokens * cached + tokens * (tokens + 1) / 2;
  const double streamed = chunks * cached + tokens * (chunks + 1) / 2;
  return step * chunks + std::max(weights * chunks, token * tokens + logits) +
         std::max(pair * pairs, kv_token * streamed);
}

double PerfProfile::decode_seconds(double sequences, double kv_tokens) const {
  return step_seconds({sequences, sequences, kv_tokens, kv_tokens});
}

double PerfProfile::transfer_seconds(double tokens) const {
  return tokens > 0 ? link_latency + link_token * tokens : 0;
}

bool PerfProfile::sane() const {
  constexpr double kMost = 1e6;  // seconds
  return std::ranges::all_of(
      std::array{step, weights, token, logits, pair, kv_token, link_token, link_latency},
      [](double cost) { return cost >= 0 && cost <= kMost; });
}

PerfProfile make_perf_profile(const ModelCost& model, const SystemSpec& system) {
  const double flops = system.matmul_flops * system.matmul_efficiency;
  const double bandwidth = system.memory_bandwidth * system.memory_efficiency;
  PerfProfile profile;
  profile.step = system.step_overhead;
  profile.weights = model.streamed_bytes / bandwidth;
  profile.token = model.flops_per_token / flops;
  profile.logits = model.flops_per_logits / flops;
  profile.pair = model.flops_per_pair / (system.matmul_flops * system.attention_efficiency);
  profile.kv_token = model.kv_bytes_per_token / bandwidth;
  profile.link_token = model.kv_bytes_per_token / (system.link_bandwidth * system.link_efficiency);
  profile.link_latency = system.link_latency;
  return profile;
}

double kv_tokens_that_fit(const ModelCost& model, const SystemSpec& system, double fraction) {
  return std::max(0.0, (system.memory_bytes * fraction - model.weight_bytes) / model.kv_bytes_per_token);
}

void PerfCalibration::measured(const StepShape& shape, double seconds) {
  const double predicted = first_.step_seconds(shape);
  if (predicted <= 0 || seconds <= 0) return;
  const double ratio = std::clamp(seconds / predicted, 1 / kMaxCorrection, kMaxCorrection);
  Factor& factor = shape.tokens > shape.sampled ? prefill_ : decode_;
  // The plain mean of the first steps, then an exponential one.
  factor.value += std::max(kCalibrationWeight, 1 / ++factor.steps) * (ratio - factor.value);
}

// Rows of a prefill are bound by multiplications, those of a decode by what is streamed.
PerfProfile PerfCalibration::profile() const {
  PerfProfile p = first_;
  p.measured = prefill_.steps > 0 && decode_.steps > 0;
  for (double* cost : {&p.token, &p.logits, &p.pair}) *cost *= prefill_.value;
  for (double* cost : {&p.step, &p.weights, &p.kv_token}) *cost *= decode_.value;
  return p;
}

// A window is a burst: arrivals without a pause, at least kWindow long. Shorter bursts say nothing: they were
// in a buffer already.
void LinkMeter::arrived(double bytes, double now) {
  constexpr double kWindow = 0.02, kPause = 0.005, kFade = 60;  // seconds
  const auto start = [&] {
    window_begin_ = now;
    window_bytes_ = 0;
  };
  const double since = total_ > 0 ? std::max(0.0, now - last_) : 0;
  best_ *= std::exp(-since / kFade);
  last_ = now;
  total_ += bytes;
  if (total_ == bytes || since > kPause) return start();
  window_bytes_ += bytes;
  if (now - window_begin_ < kWindow) return;
  best_ = std::max(best_, window_bytes_ / (now - window_begin_));
  start();
}

}  // namespace baton
