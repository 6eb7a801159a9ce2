// UTF-8: validation, repair and stepping through code points.
//
// Everything behind the folder's border works on valid UTF-8; the border (Tokenizer::encode, the decoders'
// byte stages) makes it so with to_valid_utf8. Invalid input follows the Unicode Standard's "maximal subpart"
// practice, as Rust's from_utf8_lossy does: one U+FFFD for each maximal prefix of a well-formed sequence
// (Unicode 15, section 3.9, table 3-8).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baton::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

bool is_ascii(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

// Appends `bytes` to `out` with each ill-formed part replaced. Returns the length of the incomplete but so
// far well-formed sequence at the end (0..3), which is not appended: the caller keeps it for more bytes, or
// replaces it.
std::size_t append_valid_utf8(std::string_view bytes, std::string& out);
std::string to_valid_utf8(std::string_view bytes);

// The length of the well-formed but incomplete sequence at the end of `bytes` (0..3).
std::size_t incomplete_utf8_suffix(std::string_view bytes);

void append_utf8(char32_t code_point, std::string& out);

// The code point that begins at `position` of valid UTF-8, and its length.
struct CodePoint {
  char32_t value = 0;
  std::size_t length = 1;
};
inline CodePoint code_point_at(std::string_view valid, std::size_t position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(valid[position + i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3F), 4};
}
// Where the code point that ends before `position` (> 0) begins.
inline std::size_t previous_code_point(std::string_view valid, std::size_t position) {
  do --position;
  while (position > 0 && (static_cast<unsigned char>(valid[position]) & 0xC0) == 0x80);
  return position;
}

}  // namespace baton::text
