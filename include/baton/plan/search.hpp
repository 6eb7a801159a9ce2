// The search of `baton plan`: every split, batch, ratio of prefill to decode engines; what meets the targets
// and fits in memory, best first. Pure: the same request gives the same plan.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "baton/plan/estimate.hpp"

namespace baton {

// Which splits an engine can run; Baton's own are in model/capability.hpp.
struct SplitLimits {
  int tensor = 1, pipeline = 1, data = 1;
  bool experts_apart = false;  // expert parallelism
  bool even_shares = false;    // only widths that are shareable() and fill a machine, as Baton's must
};

struct PlanRequest {
  EngineSetup prefill, decode;  // without their splits; aggregated engines are `prefill`'s kind
  Workload load;
  int gpus = 1;
  double ttft = 0, tpot = 0, latency = 0;  // seconds; 0: no limit
  bool aggregated = true, disaggregated = true;
  SplitLimits limits;
  int top = 5;
  double request_rate = 0;  // wanted, requests/s; 0: as many as the GPUs give
};

struct Choice {
  bool disaggregated = false;
  Split split = {};                             // aggregated
  Split prefill = {}, decode = {};              // disaggregated
  int batch = 1;                                // requests at a time on an engine that decodes
  int prefill_batch = 1;                        // prompts in a step
  int prefill_workers = 0, decode_workers = 0;  // of one replica
  int replicas = 1;
  int chunk = 0;              // rows of a step of engines that prefill; 0: by rule, see engine_limits
  Estimate estimate = {};     // of one replica
  double tokens_per_gpu = 0;  // of all GPUs that are there, the idle ones too
  int gpus_per_replica() const { return static_cast<int>(estimate.gpus); }
  int gpus_used() const { return replicas * gpus_per_replica(); }
  double concurrency() const { return replicas * estimate.concurrency; }
  double tokens_per_second() const { return estimate.tokens_per_gpu * gpus_used(); }
};

struct FrontPoint {
  double tokens_per_user = 0, tokens_per_gpu = 0;
};

struct Plan {
  std::vector<Choice> aggregated, disaggregated;                  // best first, one for each layout
  std::vector<FrontPoint> aggregated_front, disaggregated_front;  // TTFT within its limit, any TPOT
  std::int64_t evaluated = 0;
  bool weights_fit = false;  // in some split
  const Choice* best() const;
  // In a sentence: which architecture wins, by how much, and what decides it.
  std::string reason(const PlanRequest& request) const;
};
// Of the parts of a search how many are done, and how many there are; called in the caller's thread.
using SearchProgress = std::function<void(std::size_t done, std::size_t all)>;
// Over all cores.
Plan search(const PlanRequest& request, const SearchProgress& progress = {});

}  // namespace baton
