// encode_message for senders that must not put anything on the wire that the receiver would refuse.
#pragma once

#include <cstddef>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/messages.hpp"

namespace baton::peer {

// Appends the message to `out`. On an error (a list over its limit, a number that is not finite) the field is
// named and what was appended is worthless.
Result<void> append_message(std::vector<std::byte>& out, const Message& message, TimePoint now);

}  // namespace baton::peer
