// PerfModel: how long a step takes. The router, the simulator and the planner ask the same functions.
//
// A roofline for each kind of operation: its multiplications or what it streams from memory, whichever is
// longer, softly where both are near. make_perf_profile derives these costs from a model's sizes, a system's
// data sheet, how the model is split over GPUs and what an engine reaches of the data sheet. PerfProfile
// holds them for one engine, small enough to be published to peers; the engine's own steps correct it
// (PerfCalibration). All times are seconds, all rates per second.
#pragma once

#include <cstddef>
#include <cstdint>

#include "baton/model/shape.hpp"
#include "baton/schedule/system_spec.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

struct StepPlan;

// How a model lies on the GPUs of one engine. Attention: `tensor` GPUs share one sequence's heads and `data`
// such groups have sequences of their own. Experts: all of these GPUs, each expert cut over `expert_tensor`.
struct Split {
  int tensor = 1, pipeline = 1, data = 1, expert_tensor = 1;
  int gpus() const { return tensor * pipeline * data; }
  int expert_parallel() const { return tensor * data / expert_tensor; }
  bool operator==(const Split&) const = default;
};

// One engine: what is run, where, by what.
struct EngineSetup {
  ModelShape model;
  SystemSpec system;
  EngineProfile profile;
  Split split;
  Precision weights = Precision::bf16, kv = Precision::bf16;

  Precision dense_weights() const;    // of what is not a routed expert
  double routed_bytes() const;        // of all routed experts
  double weight_bytes() const;        // on the fullest GPU
  double kv_bytes_per_token() const;  // of one sequence, on one GPU, where layers have no window
  double kv_transfer_bytes() const;   // of one token, all layers, to a peer
  // Of one sequence of so many tokens, beside its KV cache that grows for good, on one GPU.
  double state_bytes(double tokens) const;
};

// What a step consists of.
struct StepShape {
  double tokens = 0;     // rows
  double sampled = 0;    // rows whose logits are wanted
  double pairs = 0;      // (query, key) pairs of attention
  double kv_tokens = 0;  // K and V read: the context of each sequence in the step
  double sequences = 0;
};
StepShape step_shape(const StepPlan& plan);

// Where a step's time goes, seconds.
struct StepCost {
  double fixed = 0, sequences = 0, dense = 0, experts = 0, attention = 0, exchange = 0;
  double total() const { return fixed + sequences + dense + experts + attention + exchange; }
};

struct PerfProfile {
  double step = 0;                      // fixed
  double sequence = 0;                  // host work for one sampled row, and its logits' way to one GPU
  double weights = 0;                   // streaming them once, without the routed experts
  double token = 0;                     // projections of one row
  double logits = 0;                    // of one sampled row
  double experts = 0;                   // streaming all routed experts once
  double expert_decay = 0;              // a given expert is idle with chance e^-(expert_decay rows)
  double expert_token = 0;              // the experts' products for one row
  double pair = 0;                      // attention of one query with one key
  double kv_token = 0;                  // streaming one token's K and V
  double window = 0, window_share = 0;  // tokens that this share of the layers attends to at most
  double sparse = 0;                    // tokens that a query attends to at most; 0: all
  double serial = 0;  // of the shorter of an operation's two times, what does not overlap with the longer
  double exchange_token = 0;  // collectives among the engine's GPUs, one row
  double link_token = 0;      // sending one token's K and V of all layers to a peer
  double link_latency = 0;
  bool measured = false;  // corrected by steps of the engine itself

  StepCost step_cost(const StepShape& shape) const;
  double step_seconds(const StepShape& shape) const;
  // Computing `tokens` rows after `cached` ones that are there already, alone, in chunks of `chunk` rows.
  double prefill_seconds(double tokens, double cached, double chunk) const;
  // One step of `sequences` decodes whose contexts add up to `kv_tokens`.
  double decode_seconds(double sequences, double kv_tokens) const;
  // Of a text of `length` tokens, what [begin, end) is in tokens whose K and V of all layers are sent: where
  // a layer's window does not reach, that layer sends none.
  double tokens_sent(double begin, double end, double length) const;
  double transfer_seconds(double tokens) const;
  bool sane() const;  // every cost finite and not negative: what a peer publishes is asked this first
};
PerfProfile make_perf_profile(const EngineSetup& setup);

// KV blocks that fit beside the weights in `fraction` of the memory of all the engine's GPUs, and what groups
// they are of; 0 where the weights do not fit.
struct KvRoom {
  double blocks = 0;
  KvGroups groups;
};
KvRoom kv_room(const EngineSetup& setup, double fraction, std::int32_t block_size);

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
