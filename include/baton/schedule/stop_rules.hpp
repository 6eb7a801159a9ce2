// Stop rules: when a sequence has ended, and what may not be sampled so that it does not end too early. Pure
// functions of the token ids; stop strings belong to the daemon that accepted the request.
#pragma once

#include <cstdint>
#include <vector>

#include "baton/base/token.hpp"
#include "baton/schedule/sequence.hpp"

namespace baton {

enum class StopCause : std::uint8_t {
  none,
  token,   // EOS or a stop id, or the output's grammar has ended
  length,  // max_tokens or the context's end
};

// Why the sequence ends with the newest token of its output; none where it goes on. A stop id, or the end of
// the grammar, wins over the length. `max_context` 0: no limit.
StopCause stop_cause(const Sequence& sequence, std::int32_t max_context);

// Ids that the token behind the next `ahead` ones may not be: EOS (unless ignored) and stop ids below
// min_tokens. Usually empty. With a grammar an ignored EOS is banned always: the mask allows it as the end of
// the output only.
std::vector<TokenId> banned_tokens(const Sequence& sequence, std::size_t ahead = 0);

}  // namespace baton
