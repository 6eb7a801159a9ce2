// Ranges of characters as sequences of byte ranges: the way automata over bytes read UTF-8.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "text/char_set.hpp"

namespace baton::text {

struct ByteRange {
  std::uint8_t first = 0, last = 0;  // both included
};

// One to four byte ranges; a text matches where each of its bytes lies in its range.
struct ByteSequence {
  std::array<ByteRange, 4> bytes{};
  std::size_t length = 0;
};

// Together these match exactly the UTF-8 of the range's characters. `range` holds no surrogates.
void append_utf8_ranges(CharSet::Range range, std::vector<ByteSequence>& out);

}  // namespace baton::text
