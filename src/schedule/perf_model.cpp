#include "baton/schedule/perf_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "baton/model/kv_spec.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {
namespace {

constexpr double kMaxCorrection = 50;        // a profile is never wrong by more than this
constexpr double kCalibrationWeight = 0.05;  // of the newest step

// The larger of two times and of the shorter what does not overlap; where they are close, more: 19 % where
// they are equal, nothing where one is half of the other. Straight lines, because a routing decision asks for
// thousands.
inline double bound_by(double a, double b, double serial) {
  const double most = std::max(a, b), least = std::min(a, b);
  return most + std::max(serial * least, 0.38 * std::max(0.0, least - 0.5 * most));
}

// What of a mean context of `mean` tokens is read.
double tokens_read(const PerfProfile& p, double mean) {
  double read = mean;
  if (p.window_share > 0 && mean > p.window) read -= p.window_share * (mean - p.window);
  return p.sparse > 0 ? std::min(read, p.sparse) : read;
}

// GPUs that one sequence's KV cache is divided over: a head is not divided.
double kv_divided(const EngineSetup& e) {
  return e.model.latent() ? 1 : std::clamp<double>(e.split.tensor, 1, std::max(1.0, e.model.kv_heads));
}

// Parameters that each GPU of an engine has of what is read for every token, embeddings and output head
// apart.
double dense_share(const EngineSetup& e) {
  const double routers =
      e.profile.traits.one_process ? e.model.expert_layers * e.model.hidden * e.model.experts : 0;
  return (e.model.dense_parameters() - routers) / e.split.tensor + routers;
}

// Embeddings and output head, likewise: a shared-out head is a copy of its part of tied embeddings.
double table_share(const EngineSetup& e) {
  const double table = e.model.embedding_parameters(), tensor = e.split.tensor;
  if (e.profile.traits.one_process && tensor > 1) return table + table / tensor;
  return table * (e.model.tied ? 1 : 2) / tensor;
}

// Layers whose cache grows with the sequence.
double growing_layers(const EngineSetup& e) { return e.model.attention_layers - e.model.window_layers; }

}  // namespace

// Published checkpoints quantise what dominates; natively 4-bit and integer ones their experts alone.
Precision EngineSetup::dense_weights() const {
  const bool experts_alone =
      model.experts > 0 &&
      (weights == Precision::int4 || (weights == Precision::fp4 && model.stored == Precision::fp4));
  return experts_alone ? Precision::bf16 : weights;
}

// A checkpoint that is 4-bit as published has a scale for 32 elements (MX), others for 16 (NV).
double EngineSetup::routed_bytes() const {
  constexpr double kMx = 4.25 / 8;
  const bool mx = weights == Precision::fp4 && model.stored == Precision::fp4;
  return model.routed_parameters() * (mx ? kMx : bytes_per_element(weights));
}

double EngineSetup::weight_bytes() const {
  const double wide = std::max(2.0, bytes_per_element(dense_weights()));  // embeddings stay as they are
  const double dense = dense_share(*this) * bytes_per_element(dense_weights());
  return (dense + routed_bytes() / (split.tensor * split.data) + table_share(*this) * wide) / split.pipeline;
}

double EngineSetup::kv_bytes_per_token() const {
  return growing_layers(*this) * model.kv_elements() * bytes_per_element(kv) / kv_divided(*this) /
         split.pipeline;
}

double EngineSetup::kv_transfer_bytes() const {
  return model.attention_layers * model.kv_elements() * bytes_per_element(kv);
}

double EngineSetup::state_bytes(double tokens) const {
  const double passing = model.attention_layers - growing_layers(*this);
  const double windows =
      passing * model.kv_elements() * std::min(model.window, tokens) * bytes_per_element(kv);
  const double states = model.linear_layers * model.linear_state * bytes_per_element(Precision::bf16);
  return (windows + states) / kv_divided(*this) / split.pipeline;
}

StepShape step_shape(const StepPlan& plan) {
  StepShape shape;
  for (const PlannedRows& rows : plan.rows) {
    const double n = rows.rows, before = rows.first_position;
    shape.tokens += n;
    shape.sampled += static_cast<double>(rows.sampled_rows());
    shape.pairs += n * before + n * (n + 1) / 2;
    shape.kv_tokens += before + n;
    shape.sequences += 1;
  }
  return shape;
}

StepCost PerfProfile::step_cost(const StepShape& s) const {
  StepCost cost;
  cost.fixed = step;
  cost.sequences = sequence * s.sampled;
  cost.dense = bound_by(weights, token * s.tokens + logits * s.sampled, serial);
  if (experts > 0)  // each row picks its own: what of them is read at all
    cost.experts = bound_by(experts * -std::expm1(-expert_decay * s.tokens), expert_token * s.tokens, serial);
  double kv = s.kv_tokens, scored = s.pairs;
  if ((window_share > 0 || sparse > 0) && s.sequences > 0 && s.tokens > 0) {
    kv = s.sequences * tokens_read(*this, kv / s.sequences);
    scored = s.tokens * tokens_read(*this, scored / s.tokens);
  }
  cost.attention = bound_by(pair * scored, kv_token * kv, 0);
  cost.exchange = exchange_token * s.tokens;
  return cost;
}

double PerfProfile::step_seconds(const StepShape& shape) const { return step_cost(shape).total(); }

// All chunks at once: what is not a whole number of chunks is taken as a part of one.
double PerfProfile::prefill_seconds(double tokens, double cached, double chunk) const {
  if (tokens <= 0) return 0;
  const double size = std::min(std::max(chunk, 1.0), tokens), chunks = tokens / size;
  const double pairs = size * (cached + (tokens + 1) / 2);
  const double streamed = cached + (tokens + size) / 2;
  return chunks * step_cost({size, 0, pairs, streamed, 1}).total() + sequence + logits;
}

double PerfProfile::decode_seconds(double sequences, double kv_tokens) const {
  return step_seconds({sequences, sequences, kv_tokens, kv_tokens, sequences});
}

double PerfProfile::tokens_sent(double begin, double end, double length) const {
  const double unseen = window_share > 0 ? std::max(0.0, std::min(end, length - window) - begin) : 0;
  return std::max(0.0, end - begin) - window_share * unseen;
}

double PerfProfile::transfer_seconds(double tokens) const {
  return tokens > 0 ? link_latency + link_token * tokens : 0;
}

bool PerfProfile::sane() const {
  constexpr double kMost = 1e8;  // seconds, tokens
  return std::ranges::all_of(
             std::array{step, sequence, weights, token, logits, experts, expert_token, pair, kv_token, window,
                        sparse, exchange_token, serial, link_token, link_latency},
             [](double cost) { return cost >= 0 && cost <= kMost; }) &&
         expert_decay >= 0 && expert_decay < 1e3 && window_share >= 0 && window_share <= 1;
}

PerfProfile make_perf_profile(const EngineSetup& e) {
  const ModelShape& m = e.model;
  const Efficiency& reached = e.profile.efficiency;
  const EngineTraits& traits = e.profile.traits;
  const double tensor = e.split.tensor, data = e.split.data, gpus = tensor * data;
  const double bandwidth = e.system.memory_bandwidth * reached.memory;
  const double dense_flops = e.system.flops(e.dense_weights()) * reached.matmul;
  const double expert_flops = e.system.flops(e.weights) * reached.matmul * traits.grouped;
  // Half of the rate in prefill is what an attention reaches that streams K and V as fast as weights.
  const double kv_bandwidth = traits.kv_memory > 0
                                  ? e.system.memory_bandwidth * traits.kv_memory
                                  : bandwidth * std::min(reached.attention / 0.5, 1 / reached.memory);
  const double wide = std::max(2.0, bytes_per_element(e.dense_weights()));
  PerfProfile p;
  p.step = traits.step + reached.layer * (m.layers - m.expert_layers + traits.expert_layer * m.expert_layers);
  p.sequence = traits.sequence;
  p.serial = traits.serial;
  p.weights =
      (dense_share(e) * bytes_per_element(e.dense_weights()) + m.embedding_parameters() * wide / tensor) /
      bandwidth;
  p.token = 2 * dense_share(e) / data / dense_flops;
  p.logits = 2 * m.embedding_parameters() / gpus / (e.system.flops_bf16 * reached.matmul);
  if (m.experts > 0) {
    p.experts = e.routed_bytes() / gpus / bandwidth;
    p.expert_decay = -std::log1p(-std::min(m.experts_per_token / m.experts, 0.999));
    p.expert_token = 2 * m.expert_layers * m.experts_per_token * m.expert_parameters() / gpus / expert_flops;
  }
  p.pair = 2 * m.attention_layers * m.score_width() / gpus / (e.system.flops_bf16 * reached.attention);
  p.kv_token =
      m.attention_layers * m.kv_elements() * bytes_per_element(e.kv) / kv_divided(e) / data / kv_bandwidth;
  if (m.window > 0 && m.attention_layers > 0) {
    p.window = m.window;
    p.window_share = m.window_layers / m.attention_layers;
  }
  p.sparse = m.sparse_tokens;
  const bool one_process = traits.one_process;
  if (gpus > 1) {  // two sums in each layer, a ring each, of bf16
    const double once = traits.exchange + traits.exchange_gpu * gpus;
    // A system that names no bandwidth between its devices: as that of their memory.
    const double peers = e.system.peer_bandwidth > 0 ? e.system.peer_bandwidth : e.system.memory_bandwidth;
    const double rate = std::max(1.0, peers * traits.exchange_rate);
    p.step += 2 * m.layers * once;
    p.exchange_token = 2 * m.layers * m.hidden * 2 * 2 * (1 - 1 / gpus) / data / rate;
    if (one_process) {  // what others have of a row's logits, f32, goes to the GPU that samples
      p.step += once;
      p.sequence += m.vocab * 4 * (1 - 1 / gpus) / rate;
    }
  }
  p.link_token =
      e.kv_transfer_bytes() / (one_process ? 1 : kv_divided(e)) / (e.system.link_bandwidth * traits.link);
  p.link_latency = e.system.link_latency;
  return p;
}

KvRoom kv_room(const EngineSetup& setup, double fraction, std::int32_t block_size) {
  const ModelShape& m = setup.model;
  const double left = setup.system.memory_bytes * fraction - setup.weight_bytes();
  const KvLayout layout =
      group_layers({}, static_cast<std::int32_t>(growing_layers(setup)),
                   static_cast<std::int32_t>(m.window_layers), static_cast<std::int32_t>(m.window));
  const double block = std::min<double>(layout.layers, m.attention_layers) * m.kv_elements() *
                       bytes_per_element(setup.kv) / kv_divided(setup) / setup.split.pipeline * block_size;
  return {block > 0 ? std::max(0.0, left / block * setup.split.data) : 0, layout.groups};
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
  for (double* cost : {&p.token, &p.logits, &p.pair, &p.expert_token, &p.exchange_token})
    *cost *= prefill_.value;
  for (double* cost : {&p.step, &p.sequence, &p.weights, &p.experts, &p.kv_token}) *cost *= decode_.value;
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
