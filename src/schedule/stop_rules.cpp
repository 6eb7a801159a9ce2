// Stop rules: banning and stopping agree on one boundary. The token with output index i may be a stop id, and
// then ends the sequence, exactly where i >= min_tokens. A grammar that has ended ends it anywhere.
#include "baton/schedule/stop_rules.hpp"

#include <algorithm>

namespace baton {

namespace {

bool contains(const std::vector<TokenId>& ids, TokenId id) { return std::ranges::find(ids, id) != ids.end(); }

bool is_stop_id(const StopRules& rules, TokenId id) {
  return contains(rules.stop_token_ids, id) || (!rules.ignore_eos && contains(rules.eos_token_ids, id));
}

}  // namespace

StopCause stop_cause(const Sequence& sequence, std::int32_t max_context) {
  const StopRules& rules = sequence.request.stop;
  const auto generated = static_cast<std::int32_t>(sequence.request.output.size());
  if (sequence.mask && sequence.mask->ended()) return StopCause::token;
  if (generated > rules.min_tokens && is_stop_id(rules, sequence.request.output.back())) {
    return StopCause::token;
  }
  if (generated >= rules.max_tokens) return StopCause::length;
  if (max_context > 0 && sequence.size() >= max_context) return StopCause::length;
  return StopCause::none;
}

std::vector<TokenId> banned_tokens(const Sequence& sequence, std::size_t ahead) {
  const StopRules& rules = sequence.request.stop;
  const bool too_early = static_cast<std::int32_t>(sequence.request.output.size() + ahead) < rules.min_tokens;
  std::vector<TokenId> banned;
  if (too_early) banned = rules.stop_token_ids;
  if (rules.ignore_eos ? sequence.mask != nullptr : too_early) {
    banned.insert(banned.end(), rules.eos_token_ids.begin(), rules.eos_token_ids.end());
  }
  return banned;
}

}  // namespace baton
