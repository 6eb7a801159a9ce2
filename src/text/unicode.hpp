// Character properties and normalisation forms, from ICU, named as tokenizer.json needs them.
//
// All text here is valid UTF-8. Invariant: ASCII input never reaches ICU (it is its own normal form), so
// plain English costs one scan.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baton::text {

enum class NormalForm : std::uint8_t { nfc, nfd, nfkc, nfkd };

// True where `out` was written; false where `text` already is in that form.
bool normalize(NormalForm form, std::string_view text, std::string& out);

bool is_white_space(char32_t c);  // the property White_Space
bool is_word(char32_t c);         // \w of UTS #18: Alphabetic, M, Nd, Pc, Join_Control
bool is_numeric(char32_t c);      // general category N
bool is_punctuation(char32_t c);  // general category P, or an ASCII symbol
bool is_mark(char32_t c);         // general category M
bool is_letter(char32_t c);       // general category L

// Full case mappings of one code point at a time, so without context (a final sigma is not special).
std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);

}  // namespace baton::text
