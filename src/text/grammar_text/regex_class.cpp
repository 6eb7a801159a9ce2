#include "text/grammar_text/regex_class.hpp"

#include <string>
#include <utility>

#include "text/utf8.hpp"

namespace baton::text {

namespace {

using Ranges = std::vector<CharSet::Range>;

CharSet digits() { return CharSet({{'0', '9'}}); }
CharSet words() { return CharSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}); }
CharSet spaces() { return CharSet({{'\t', '\r'}, {' ', ' '}}); }

std::optional<CharSet> shorthand(char32_t letter) {
  switch (letter) {
    case 'd':
      return digits();
    case 'D':
      return digits().complement();
    case 'w':
      return words();
    case 'W':
      return words().complement();
    case 's':
      return spaces();
    case 'S':
      return spaces().complement();
    default:
      return std::nullopt;
  }
}

std::optional<char32_t> control(char32_t letter) {
  switch (letter) {
    case 't':
      return '\t';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    default:
      return std::nullopt;
  }
}

std::optional<char32_t> hexadecimal(RegexCursor& cursor, std::size_t count) {
  char32_t value = 0;
  for (std::size_t i = 0; i < count; ++i, ++cursor.at) {
    if (cursor.done()) return std::nullopt;
    const char c = cursor.pattern[cursor.at];
    const auto digit = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
    const bool is_digit = c >= '0' && c <= '9';
    if (digit == std::string_view::npos || (digit < 10 && !is_digit)) return std::nullopt;
    value = value * 16 + static_cast<char32_t>(digit);
  }
  return value;
}

// After \u: 0041, {1F600}, or a pair of surrogates with another \u between them.
std::optional<char32_t> unicode_escape(RegexCursor& cursor) {
  if (cursor.take("{")) {
    const std::size_t close = cursor.pattern.find('}', cursor.at);
    if (close == std::string_view::npos || close == cursor.at || close - cursor.at > 6) return std::nullopt;
    const auto value = hexadecimal(cursor, close - cursor.at);
    ++cursor.at;
    return value;
  }
  const auto value = hexadecimal(cursor, 4);
  if (!value || *value < 0xD800 || *value > 0xDBFF) return value;
  if (!cursor.take("\\u")) return std::nullopt;
  const auto low = hexadecimal(cursor, 4);
  if (!low || *low < 0xDC00 || *low > 0xDFFF) return std::nullopt;
  return 0x10000 + ((*value - 0xD800) << 10) + (*low - 0xDC00);
}

// Letters and digits that other dialects give a meaning that a grammar has not, or that nobody agrees on.
std::string_view refused_escape(char32_t letter) {
  if (letter >= '1' && letter <= '9') return "back references are not supported";
  switch (letter) {
    case 'k':
    case 'g':
      return "back references are not supported";
    case 'b':
    case 'B':
      return "word boundaries (\\b) are not supported";
    case 'p':
    case 'P':
      return "Unicode property classes (\\p) are not supported";
    default:
      return "an escape that is not supported";
  }
}

bool is_ascii_letter_or_digit(char32_t c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

}  // namespace

bool RegexCursor::take(std::string_view text) {
  if (!ahead(text)) return false;
  at += text.size();
  return true;
}

char32_t RegexCursor::next() {
  const CodePoint point = code_point_at(pattern, at);
  at += point.length;
  return point.value;
}

Error RegexCursor::wrong(ErrorCode code, std::string_view problem, std::size_t place) const {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < place && i < pattern.size(); ++characters)
    i += code_point_at(pattern, i).length;
  return make_error(code, "character " + std::to_string(characters + 1) +
                              " of a regular expression: " + std::string(problem));
}

CharSet regex_dot() { return CharSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).complement(); }

Result<CharSet> parse_regex_escape(RegexCursor& cursor, bool in_class) {
  const std::size_t place = cursor.at - 1;
  if (cursor.done()) return cursor.wrong(ErrorCode::invalid_argument, "a backslash at the end", place);
  const char32_t letter = cursor.next();
  if (const auto set = shorthand(letter)) return *set;
  std::optional<char32_t> value = control(letter);
  const bool numeric = letter == 'x' || letter == 'u' || letter == 'U';
  if (letter == 'x') value = hexadecimal(cursor, 2);
  if (letter == 'u') value = unicode_escape(cursor);
  if (letter == 'U') value = hexadecimal(cursor, 8);
  if (letter == 'b' && in_class) value = '\b';
  const bool octal = !cursor.done() && cursor.pattern[cursor.at] >= '0' && cursor.pattern[cursor.at] <= '9';
  if (letter == '0' && !octal) value = 0;
  if (numeric && (!value || CharSet::one(*value).ranges().empty()))
    return cursor.wrong(ErrorCode::invalid_argument, "not the hexadecimal digits of a character", place);
  if (!value && is_ascii_letter_or_digit(letter))
    return cursor.wrong(ErrorCode::unsupported, refused_escape(letter), place);
  return CharSet::one(value.value_or(letter));
}

Result<CharSet> parse_regex_class(RegexCursor& cursor) {
  const std::size_t place = cursor.at - 1;
  const bool negated = cursor.take("^");
  if (cursor.ahead("]"))
    return cursor.wrong(ErrorCode::invalid_argument, "a class that begins with ], which must be \\]");
  Ranges ranges;
  while (!cursor.take("]")) {
    if (cursor.done()) return cursor.wrong(ErrorCode::invalid_argument, "a class without its ]", place);
    if (cursor.ahead("[:") || cursor.ahead("[.") || cursor.ahead("[="))
      return cursor.wrong(ErrorCode::unsupported, "POSIX classes are not supported");
    const std::size_t from = cursor.at;
    const auto part = [&]() -> Result<CharSet> {
      return cursor.take("\\") ? parse_regex_escape(cursor, true) : Result(CharSet::one(cursor.next()));
    };
    auto low = part();
    if (!low) return low;
    const bool is_range = cursor.ahead("-") && !cursor.ahead("-]") && cursor.at + 1 < cursor.pattern.size();
    if (!is_range) {
      ranges.insert(ranges.end(), low->ranges().begin(), low->ranges().end());
      continue;
    }
    ++cursor.at;
    auto high = part();
    if (!high) return high;
    if (!low->single() || !high->single() || *low->single() > *high->single())
      return cursor.wrong(ErrorCode::invalid_argument, "a range whose ends are not two characters in order",
                          from);
    ranges.push_back({*low->single(), *high->single()});
  }
  CharSet set(ranges);
  if (negated) set = set.complement();
  if (set.ranges().empty())
    return cursor.wrong(ErrorCode::invalid_argument, "a class that has no character", place);
  return set;
}

}  // namespace baton::text
