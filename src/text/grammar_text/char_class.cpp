#include "text/grammar_text/char_class.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "text/utf8.hpp"

namespace baton::text {

namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

// What follows the backslash where a JSON string has a short escape for the character, or 0.
char short_escape(char32_t character) {
  switch (character) {
    case '"':
    case '\\':
      return static_cast<char>(character);
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

std::string hexadecimal(char32_t value, int digits) {
  std::string written;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) written += kHex[(value >> shift) & 15];
  return written;
}

// As it stands between brackets.
std::string in_brackets(char32_t character) {
  if (character > 0xFFFF) return "\\U" + hexadecimal(character, 8);
  if (character >= 0x7F) return "\\u" + hexadecimal(character, 4);
  if (character < 0x20) return "\\x" + hexadecimal(character, 2);
  const char c = static_cast<char>(character);
  if (std::string_view("\\]^[-").find(c) != std::string_view::npos) return {'\\', c};
  return {c};
}

std::string ranges_in_brackets(const CharSet& set) {
  std::string written;
  for (const CharSet::Range& range : set.ranges()) {
    written += in_brackets(range.low);
    if (range.high > range.low + 1) written += '-';
    if (range.high > range.low) written += in_brackets(range.high);
  }
  return written;
}

// "\\u001" [0-9a-fA-F]: control characters that begin with this hexadecimal digit and have no short escape.
std::string control_escapes(const CharSet& set, char32_t first) {
  std::vector<CharSet::Range> digits;
  for (char32_t last = 0; last < 16; ++last) {
    const char32_t character = first * 16 + last;
    if (!set.contains(character) || short_escape(character) != 0) continue;
    const auto digit = static_cast<char32_t>(kHex[last]);
    digits.push_back({digit, digit});
    if (last >= 10) digits.push_back({digit + ('a' - 'A'), digit + ('a' - 'A')});
  }
  if (digits.empty()) return {};
  return "\"\\\\u00" + hexadecimal(first, 1) + "\" " + plain_class(CharSet(digits));
}

}  // namespace

std::string json_spelling(char32_t character) {
  if (const char letter = short_escape(character); letter != 0) return {'\\', letter};
  if (character < 0x20) return "\\u" + hexadecimal(character, 4);
  std::string written;
  append_utf8(character, written);
  return written;
}

std::string plain_class(const CharSet& set) {
  if (set.ranges().empty()) return {};
  const CharSet others = set.complement();
  if (others.ranges().empty()) return ".";
  if (set.ranges().back().high == kLastCharacter) return "[^" + ranges_in_brackets(others) + "]";
  return "[" + ranges_in_brackets(set) + "]";
}

std::string json_class(const CharSet& set) {
  std::vector<CharSet::Range> escaped;  // the letters of short escapes
  std::vector<CharSet::Range> raw;
  for (const char32_t c : {U'"', U'\\', U'\b', U'\f', U'\n', U'\r', U'\t'}) {
    const auto letter = static_cast<char32_t>(short_escape(c));
    if (set.contains(c)) escaped.push_back({letter, letter});
  }
  for (const CharSet::Range& range : set.ranges()) {
    raw.push_back({std::max<char32_t>(range.low, 0x20), std::min<char32_t>(range.high, '"' - 1)});
    raw.push_back({std::max<char32_t>(range.low, '"' + 1), std::min<char32_t>(range.high, '\\' - 1)});
    raw.push_back({std::max<char32_t>(range.low, '\\' + 1), range.high});
  }
  std::vector<std::string> parts = {plain_class(CharSet(raw))};
  if (!escaped.empty()) parts.push_back("\"\\\\\" " + plain_class(CharSet(escaped)));
  parts.push_back(control_escapes(set, 0));
  parts.push_back(control_escapes(set, 1));
  std::erase(parts, std::string());
  if (parts.size() == 1) return parts[0].front() == '"' ? "(" + parts[0] + ")" : parts[0];
  std::string written;
  for (const std::string& part : parts) written += (written.empty() ? "(" : " | ") + part;
  return written.empty() ? written : written + ")";
}

}  // namespace baton::text
