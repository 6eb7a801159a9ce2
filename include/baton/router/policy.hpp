// RoutingPolicy: which engine computes the prompt and which one generates. Pure: the simulator asks the same
// object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

struct Candidate {
  std::string node;
  Role role = Role::mixed;
  std::uint64_t waiting_prefill_tokens = 0;
  std::uint32_t running = 0;
  std::uint32_t waiting = 0;
  std::size_t held_blocks = 0;  // leading blocks of this prompt in its cache
};

struct RouteQuery {
  std::size_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;  // output tokens that are still wanted
};

struct Route {
  std::string prefill_node;
  std::string decode_node;  // equal to prefill_node: both phases on one engine
  bool disaggregated() const { return prefill_node != decode_node; }
};

class RoutingPolicy {
 public:
  virtual ~RoutingPolicy() = default;
  // unavailable where no engine may take a phase.
  virtual Result<Route> choose(const RouteQuery& query, std::span<const Candidate> candidates) const = 0;
  // Where a continued request decodes; `avoid` is not chosen.
  virtual Result<std::string> choose_decode(std::span<const Candidate> candidates,
                                            const std::string& avoid) const = 0;
};

// Most blocks held first, then least work queued. A prompt goes to prefill and mixed engines (to a decode
// engine only where there is no other), generation to decode and mixed ones (never to a prefill engine). A
// mixed engine keeps what it prefilled; so does anyone when a single output token is wanted.
class AffinityPolicy final : public RoutingPolicy {
 public:
  Result<Route> choose(const RouteQuery& query, std::span<const Candidate> candidates) const override;
  Result<std::string> choose_decode(std::span<const Candidate> candidates,
                                    const std::string& avoid) const override;
};

}  // namespace baton
