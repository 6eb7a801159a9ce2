// Simulation: a cluster in virtual time. The scheduler, the block pools, the block index and the routing
// policy are the daemon's own; only the clock and the executor differ, which asks the PerfModel how long a
// step takes.
//
// One accepting node routes every request of a trace. Handoffs reserve blocks at the decode engine when the
// prefill is scheduled, finished chunks travel while later ones compute, over one link for each engine and
// direction. Single-threaded and deterministic: equal inputs give equal reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/router/policy.hpp"
#include "baton/router/role_controller.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/scheduler.hpp"
#include "baton/sim/trace.hpp"

namespace baton {

// What an engine is.
struct SimKind {
  PerfProfile profile;
  std::int32_t blocks = 0;  // of its KV cache
  KvGroups groups = {};
};

struct SimOptions {
  std::int32_t prefill = 0, decode = 0, mixed = 1;  // engines
  PerfProfile profile;                              // of each of them
  std::int32_t blocks = 0;                          // KV blocks of each of them
  KvGroups groups = {};
  std::optional<SimKind> decode_kind;  // of those that begin as decode engines, where they are others
  std::int32_t block_size = 16;
  SchedulerLimits limits{256, 512, 1 << 20, 0};
  std::int32_t vocab = 128256;
  std::int32_t concurrency =
      0;  // a closed loop: so many requests at a time, each followed by the next; 0: the trace's times
  double jitter = 0;       // of a step's time: the standard deviation, as a share; drawn from `seed`
  std::uint64_t seed = 1;  // same seed, same report
  double load = 1;         // arrivals come this many times as fast
  double slo_ttft = 0, slo_itl = 0;       // seconds; 0: any
  std::optional<RoleTargets> auto_roles;  // a RoleController moves engines between roles
};

struct SimRequest {
  double arrival = 0, first_token = 0, finish = 0;  // seconds; finish 0: failed
  std::int32_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  bool disaggregated = false, recomputed = false;
  bool ok() const { return finish > 0; }
  double ttft() const { return first_token - arrival; }
  double latency() const { return finish - arrival; }
  double itl() const { return output_tokens > 1 ? (finish - first_token) / (output_tokens - 1) : 0; }
};

struct SimEngineReport {
  std::string name;
  Role role = Role::mixed;
  double busy = 0;      // share of the time in which it made a step
  double utilised = 0;  // share of what its steps had room for: rows, or sequences, whichever was fuller
  std::uint64_t steps = 0, preemptions = 0;
  std::uint64_t prefill_tokens = 0;
};

struct SimReport {
  std::vector<SimRequest> requests;  // in order of arrival
  std::vector<SimEngineReport> engines;
  double seconds = 0;   // from the first arrival to the last finish
  double arrivals = 0;  // from the first arrival to the last
  std::uint64_t failed = 0;
  std::uint64_t queried_tokens = 0, hit_tokens = 0;  // of the prefix caches
  std::uint64_t blocks_moved = 0, transfers = 0, recomputed = 0;
  struct RoleChange {
    double time = 0;  // seconds
    RoleMove move;
  };
  std::vector<RoleChange> role_changes;
  double hit_rate() const {
    return queried_tokens == 0 ? 0 : static_cast<double>(hit_tokens) / static_cast<double>(queried_tokens);
  }
};

using SimProgress = std::function<void(std::size_t finished, std::size_t all)>;

// invalid_argument: no engines, or none that may take a phase.
Result<SimReport> simulate(const SimOptions& options, std::span<const TraceRequest> trace,
                           RoutingPolicy& policy, const SimProgress& progress = {});

// ---- what people ask of a report

struct Distribution {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
Distribution distribution(std::vector<double> values);

struct SimSummary {
  Distribution ttft, itl, latency;              // seconds
  double requests_per_second = 0, goodput = 0;  // goodput: of requests that met the SLO
  double met = 0;                               // their share
  double output_tokens_per_second = 0;
  double busy = 0, utilised = 0, most_utilised = 0;      // means, and the fullest engine
  double first_quarter_ttft = 0, last_quarter_ttft = 0;  // means, by arrival: does the queue grow?
  // At most 95 % utilised, and the last quarter waits at most twice as long as the first.
  bool sustained() const { return utilised <= 0.95 && last_quarter_ttft <= 2 * first_quarter_ttft; }
};
SimSummary summarize(const SimReport& report, const SimOptions& options);

}  // namespace baton
