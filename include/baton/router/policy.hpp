// RoutingPolicy: which engine computes the prompt and which one generates. Pure but for its own turn or dice;
// the router's thread owns it, and the simulator asks the same object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

struct Candidate {
  std::string node;
  Role role = Role::mixed;
  std::uint64_t waiting_prefill_tokens =
      0;  // rows of prompts not computed yet, of waiting and running requests
  std::uint32_t running = 0;
  std::uint32_t waiting = 0;
  std::size_t held_blocks = 0;    // leading blocks of this prompt in its cache
  std::uint64_t kv_tokens = 0;    // contexts of the running requests, added up
  std::uint64_t free_tokens = 0;  // what its KV memory could still take, evictable cache included
  std::int32_t chunk = 512;       // rows of a step
  PerfProfile profile;            // all zero: unknown
};

struct RouteQuery {
  std::size_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;  // output tokens that are still wanted
  std::int32_t block_size = 16;
  double expected_tokens =
      256;  // output tokens that such requests got lately; never more than max_tokens counts
};

// Predicted seconds, added up as the request will live through them.
struct RouteCost {
  double queue = 0;     // for the prompts before it
  double prefill = 0;   // of what is not cached
  double transfer = 0;  // of what does not travel while the prefill still computes
  double wait = 0;      // at the decode engine: for KV memory, for prompts that fill its steps
  double decode = 0;    // of all expected tokens
  double slowdown = 0;  // caused to the requests that run there already
  double ttft() const { return queue + prefill; }
  double total() const { return queue + prefill + transfer + wait + decode + slowdown; }
};

struct Route {
  std::string prefill_node;
  std::string decode_node;  // equal to prefill_node: both phases on one engine
  RouteCost cost;           // zero where the policy does not predict
  bool disaggregated() const { return prefill_node != decode_node; }
};

class RoutingPolicy {
 public:
  virtual ~RoutingPolicy() = default;
  // A prompt goes to a prefill or mixed engine (to a decode engine only where there is no other), generation
  // to a decode or mixed one, never to a prefill engine. unavailable where no engine may take a phase.
  virtual Result<Route> choose(const RouteQuery& query, std::span<const Candidate> candidates) = 0;
  // Where a continued request decodes; `avoid` is not chosen.
  virtual Result<std::string> choose_decode(const RouteQuery& query, std::span<const Candidate> candidates,
                                            const std::string& avoid) = 0;
};

// Every route that the roles allow with its predicted cost, the cheapest first, at most `limit`: what `kv`
// chooses from.
std::vector<Route> predicted_routes(const RouteQuery& query, std::span<const Candidate> candidates,
                                    std::size_t limit);

// "kv": the route with the lowest predicted cost, cached blocks and the work of all engines counted in.
// For comparison: "round_robin", "random", "least_loaded" (fewest requests).
std::span<const std::string_view> policy_names();
std::unique_ptr<RoutingPolicy> make_policy(std::string_view name,
                                           std::uint64_t seed = 1);  // null: unknown name

}  // namespace baton
