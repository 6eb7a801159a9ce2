#include "baton/router/policy.hpp"

#include <algorithm>
#include <tuple>

namespace baton {
namespace {

// Smaller is better. The name breaks ties, so that all daemons agree.
auto prefill_order(const Candidate& c) {
  return std::tuple(-static_cast<std::int64_t>(c.held_blocks), c.waiting_prefill_tokens, c.running, c.node);
}
auto decode_order(const Candidate& c) {
  return std::tuple(-static_cast<std::int64_t>(c.held_blocks), c.running + c.waiting, c.node);
}

template <class Fits, class Order>
const Candidate* best(std::span<const Candidate> candidates, const Fits& fits, const Order& order) {
  const Candidate* chosen = nullptr;
  for (const Candidate& candidate : candidates)
    if (fits(candidate) && (chosen == nullptr || order(candidate) < order(*chosen))) chosen = &candidate;
  return chosen;
}

}  // namespace

Result<Route> AffinityPolicy::choose(const RouteQuery& query, std::span<const Candidate> candidates) const {
  const Candidate* prefill = best(
      candidates, [](const Candidate& c) { return c.role != Role::decode; }, prefill_order);
  if (prefill == nullptr)
    prefill = best(
        candidates, [](const Candidate&) { return true; }, prefill_order);
  if (prefill == nullptr) return make_error(ErrorCode::unavailable, "no engine is reachable");
  if (prefill->role != Role::prefill || query.max_tokens <= 1) return Route{prefill->node, prefill->node};
  auto decode = choose_decode(candidates, prefill->node);
  if (!decode) return decode.error();
  return Route{prefill->node, *decode};
}

Result<std::string> AffinityPolicy::choose_decode(std::span<const Candidate> candidates,
                                                  const std::string& avoid) const {
  const auto fits = [&](const Candidate& c) { return c.role != Role::prefill && c.node != avoid; };
  const Candidate* decode = best(candidates, fits, decode_order);
  if (decode == nullptr) return make_error(ErrorCode::unavailable, "no decode engine is reachable");
  return decode->node;
}

}  // namespace baton
