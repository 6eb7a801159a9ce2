// The code points that Unicode 15 and 16 assigned, with their general categories.
//
// Hugging Face tokenizers carries Unicode 16; Debian 12's PCRE2 has 14 and its ICU 15. A character that one
// side calls a letter and the other does not splits text differently, so what is missing is added here.
// (Source: the Unicode Character Database, DerivedGeneralCategory and DerivedAge, 16.0.0.) With newer
// libraries the table says what they say.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace baton::text {

struct UnicodeAddition {
  char32_t first = 0;
  char32_t last = 0;
  std::string_view category;  // "Lu"
};

// Sorted by code point, without overlaps.
std::span<const UnicodeAddition> unicode_additions();
// The category of an addition; empty for every other code point.
std::string_view added_category(char32_t c);

}  // namespace baton::text
