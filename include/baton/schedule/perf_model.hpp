// PerfModel: how long a step takes. The router, the simulator and the planner ask the same functions.
//
// A roofline in two parts. The projections take as long as their multiplications or as streaming the weights,
// whichever is longer; attention as its multiplications or as streaming the sequences' K and V; a step costs
// a fixed time besides. PerfProfile holds these costs for one engine, small enough to be published to peers;
// it comes from a model's sizes and a system's data (make_perf_profile) and is corrected by the engine's own
// steps (PerfCalibration). All times are seconds, all rates per second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"
#include "baton/model/config.hpp"

namespace baton {

struct StepPlan;

// What a machine can do, per engine: configs/systems/*.json. Efficiencies are what kernels reach of the
// rates.
struct SystemSpec {
  std::string name;
  std::string provenance;       // "measured", "fitted" or "data sheet", and of what
  double matmul_flops = 0;      // dense bf16
  double memory_bandwidth = 0;  // bytes/s
  double memory_bytes = 0;
  double link_bandwidth = 0;  // bytes/s between two engines, for KV blocks
  double link_latency = 0;
  double step_overhead = 0;  // scheduling, launches, sampling
  double matmul_efficiency = 1, attention_efficiency = 1, memory_efficiency = 1, link_efficiency = 1;
};
// Errors name `file` and the key.
Result<SystemSpec> parse_system_spec(std::string_view json, const std::string& file);

// What a model costs, by its sizes.
struct ModelCost {
  double weight_bytes = 0;      // all of them, resident
  double streamed_bytes = 0;    // read by every step
  double flops_per_token = 0;   // projections, without the output head
  double flops_per_logits = 0;  // the output head, for each sampled row
  double flops_per_pair = 0;    // attention of one query with one key, all heads and layers
  double kv_bytes_per_token = 0;
};
ModelCost model_cost(const ModelConfig& config);

// What a step consists of.
struct StepShape {
  double tokens = 0;     // rows
  double sampled = 0;    // rows whose logits are wanted
  double pairs = 0;      // (query, key) pairs of attention
  double kv_tokens = 0;  // K and V read: the context of each sequence in the step
};
StepShape step_shape(const StepPlan& plan);

struct PerfProfile {
  double step = 0;        // fixed
  double weights = 0;     // streaming them once
  double token = 0;       // projections of one row
  double logits = 0;      // of one sampled row
  double pair = 0;        // attention of one query with one key
  double kv_token = 0;    // streaming one token's K and V
  double link_token = 0;  // sending one token's K and V to a peer
  double link_latency = 0;
  bool measured = false;  // corrected by steps of the engine itself

  double step_seconds(const StepShape& shape) const;
  // Computing `tokens` rows after `cached` ones that are there already, alone, in chunks of `chunk` rows.
  double prefill_seconds(double tokens, double cached, double chunk) const;
  // One step of `sequences` decodes whose contexts add up to `kv_tokens`.
  double decode_seconds(double sequences, double kv_tokens) const;
  double transfer_seconds(double tokens) const;
  bool sane() const;  // every cost finite and not negative: what a peer publishes is asked this first
};
PerfProfile make_perf_profile(const ModelCost& model, const SystemSpec& system);

// KV tokens that fit beside the weights in `fraction` of the memory; 0 where the weights do not fit.
double kv_tokens_that_fit(const ModelCost& model, const SystemSpec& system, double fraction);

// Corrects a profile by what steps really took: one factor for steps with prefill rows, one for those
// without, each an exponential mean of measured / predicted. Bounded, so that a stopped process is no lasting
// lie.
class PerfCalibration {
 public:
  explicit PerfCalibration(const PerfProfile& first) : first_(first) {}
  void measured(const StepShape& shape, double seconds);
  PerfProfile profile() const;

 private:
  PerfProfile first_;
  struct Factor {
    double value = 1;
    double steps = 0;
  } prefill_, decode_;
};

// How fast KV cache arrives over an engine's links, by what does arrive. The best rate over a short window
// counts, so that a sender that waits for its own prefill does not look like a slow link; it fades, so that a
// link that has become slow is believed. Pure.
class LinkMeter {
 public:
  void arrived(double bytes, double now);  // seconds
  // Bytes a second; 0: too little has arrived to tell.
  double rate() const { return total_ < kLeast ? 0 : best_; }

 private:
  static constexpr double kLeast = 4 << 20;  // bytes
  double total_ = 0;
  double best_ = 0;
  double window_bytes_ = 0, window_begin_ = 0, last_ = 0;
};

}  // namespace baton
