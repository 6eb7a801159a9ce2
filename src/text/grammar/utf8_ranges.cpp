#include "text/grammar/utf8_ranges.hpp"

#include <algorithm>

namespace baton::text {
namespace {

struct Length {
  char32_t last;  // of the characters that take `bytes`
  std::size_t bytes;
  std::uint8_t lead;  // the first byte's fixed bits
};
constexpr std::array<Length, 4> kLengths{
    {{0x7F, 1, 0x00}, {0x7FF, 2, 0xC0}, {0xFFFF, 3, 0xE0}, {0x10FFFF, 4, 0xF0}}};

std::uint8_t byte_of(char32_t point, const Length& length, std::size_t i) {
  const auto shifted = point >> (6 * (length.bytes - 1 - i));
  if (i == 0) return static_cast<std::uint8_t>(length.lead | shifted);
  return static_cast<std::uint8_t>(0x80 | (shifted & 0x3F));
}

// Both ends take the same number of bytes. Split until, below the first byte in which the ends differ, each
// byte runs through all its values.
void split(char32_t first, char32_t last, const Length& length, std::vector<ByteSequence>& out) {
  for (std::size_t tail = 1; tail < length.bytes; ++tail) {
    const char32_t low_bits = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~low_bits) == (last & ~low_bits)) continue;
    if ((first & low_bits) != 0) {
      split(first, first | low_bits, length, out);
      return split((first | low_bits) + 1, last, length, out);
    }
    if ((last & low_bits) != low_bits) {
      split(first, (last & ~low_bits) - 1, length, out);
      return split(last & ~low_bits, last, length, out);
    }
  }
  ByteSequence sequence;
  sequence.length = length.bytes;
  for (std::size_t i = 0; i < length.bytes; ++i)
    sequence.bytes[i] = {byte_of(first, length, i), byte_of(last, length, i)};
  out.push_back(sequence);
}

}  // namespace

void append_utf8_ranges(CharSet::Range range, std::vector<ByteSequence>& out) {
  char32_t first = range.low;
  for (const Length& length : kLengths) {
    if (first > range.high) return;
    if (first > length.last) continue;
    split(first, std::min(range.high, length.last), length, out);
    first = length.last + 1;
  }
}

}  // namespace baton::text
