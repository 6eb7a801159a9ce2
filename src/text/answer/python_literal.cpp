#include "text/answer/python_literal.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/answer/events.hpp"
#include "text/answer/json_string.hpp"
#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostToken = 1024;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool may_be_in_token(char c) {
  return is_digit(c) || is_letter(c) || c == '_' || c == '.' || c == '+' || c == '-';
}

// The base of a number that says it: 0x1f.
int prefixed_base(std::string_view number) {
  if (number.size() < 3 || number[0] != '0') return 0;
  const char mark = static_cast<char>(number[1] | 0x20);
  return mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
}

std::optional<std::string> json_number(std::string token) {
  const std::string sign = token.starts_with('-') ? "-" : "";
  if (token.starts_with('-') || token.starts_with('+')) token.erase(0, 1);
  if (token.empty() || (!is_digit(token.front()) && token.front() != '.')) return std::nullopt;
  std::erase(token, '_');  // 1_000
  if (const int base = prefixed_base(token); base != 0) {
    std::uint64_t value = 0;
    const char* end = token.data() + token.size();
    const auto read = std::from_chars(token.data() + 2, end, value, base);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return sign + std::to_string(value);
  }
  if (token.starts_with('.')) token.insert(0, 1, '0');
  if (const auto point = token.find('.'); point != std::string::npos) {
    const bool bare = point + 1 == token.size() || !is_digit(token[point + 1]);
    if (bare) token.insert(point + 1, 1, '0');
  }
  if (!nlohmann::json::accept(token)) return std::nullopt;
  return sign + token;
}

std::optional<std::string> json_token(const std::string& token) {
  if (token == "True" || token == "true") return "true";
  if (token == "False" || token == "false") return "false";
  if (token == "None" || token == "null") return "null";
  return json_number(token);
}

// Escapes that are one character: `/` is JSON's.
std::optional<char> escaped(char c) {
  constexpr std::string_view kNames = "ntrbfva\\'\"/", kMeant = "\n\t\r\b\f\v\a\\'\"/";
  const std::size_t at = kNames.find(c);
  return at == std::string_view::npos ? std::nullopt : std::optional(kMeant[at]);
}

// A digit's value, or the base where it is none.
char32_t digit(char c, char32_t base) {
  const char low = static_cast<char>(c | 0x20);
  const char32_t value = is_digit(c)                ? static_cast<char32_t>(c - '0')
                         : low >= 'a' && low <= 'f' ? static_cast<char32_t>(low - 'a' + 10)
                                                    : base;
  return std::min(value, base);
}

}  // namespace

PythonLiteral::Step PythonLiteral::take(char c, std::string& json) {
  switch (state_) {
    case State::value:
    case State::key:
      return take_value(c, json);
    case State::colon:
      if (is_space(c)) return Step::more;
      if (c != ':') return Step::refused;
      json += ": ";
      state_ = State::value;
      return Step::more;
    case State::behind:
      return take_behind(c, json);
    case State::token:
      return take_token(c, json);
    case State::quote:
      triple_ = false;
      state_ = c == quote_ ? State::two_quotes : State::string;
      return c == quote_ ? Step::more : take_string(c, json);
    case State::two_quotes:
      return take_two_quotes(c, json);
    case State::string:
      return take_string(c, json);
    case State::escape:
      return take_escape(c, json);
  }
  return Step::refused;
}

PythonLiteral::Step PythonLiteral::take_value(char c, std::string& json) {
  if (is_space(c)) return Step::more;
  is_key_ = state_ == State::key;
  const bool first = empty_ || comma_;  // a value that a closing bracket may stand for
  if (first && !closers_.empty() && c == closers_.back()) return close(json);
  if (c == '[' || c == '(' || c == '{') return is_key_ ? Step::refused : open(c, json);
  if (c == '"' || c == '\'') {
    separate(json);
    json += '"';
    quote_ = c;
    state_ = State::quote;
    return Step::more;
  }
  if (!may_be_in_token(c)) return Step::refused;
  token_ = c;
  state_ = State::token;
  return Step::more;
}

void PythonLiteral::separate(std::string& json) {
  if (std::exchange(comma_, false)) json += ", ";
  empty_ = false;
}

PythonLiteral::Step PythonLiteral::open(char c, std::string& json) {
  if (closers_.size() >= most_depth_) return Step::refused;
  separate(json);
  json += c == '{' ? '{' : '[';
  closers_ += c == '{' ? '}' : c == '[' ? ']' : ')';
  empty_ = true;
  state_ = c == '{' ? State::key : State::value;
  return Step::more;
}

PythonLiteral::Step PythonLiteral::close(std::string& json) {
  json += closers_.back() == '}' ? '}' : ']';
  closers_.pop_back();
  comma_ = empty_ = is_key_ = false;
  return end_value();
}

// A value is, or a key.
PythonLiteral::Step PythonLiteral::end_value() {
  state_ = is_key_ ? State::colon : State::behind;
  return whole() ? Step::ended : Step::more;
}

PythonLiteral::Step PythonLiteral::take_behind(char c, std::string& json) {
  if (is_space(c)) return Step::more;
  if (c == closers_.back()) return close(json);
  if (c != ',') return Step::refused;
  comma_ = true;
  state_ = inside_dict() ? State::key : State::value;
  return Step::more;
}

PythonLiteral::Step PythonLiteral::take_token(char c, std::string& json) {
  if (may_be_in_token(c)) {
    if (token_.size() >= kMostToken) return Step::refused;
    token_ += c;
    return Step::more;
  }
  const auto value = json_token(token_);
  if (!value) return Step::refused;
  separate(json);
  json += is_key_ ? '"' + *value + '"' : *value;
  end_value();
  return Step::again;
}

PythonLiteral::Step PythonLiteral::take_two_quotes(char c, std::string& json) {
  if (c == quote_) {
    triple_ = true;
    state_ = State::string;
    return Step::more;
  }
  end_string(json);
  return Step::again;
}

PythonLiteral::Step PythonLiteral::take_string(char c, std::string& json) {
  if (c == quote_) {
    ++quotes_;
    return !triple_ || quotes_ == 3 ? end_string(json) : Step::more;
  }
  if (quotes_ > 0 || c != '\\') end_surrogate(json);
  for (; quotes_ > 0; --quotes_) append_json(json, quote_);
  if (c != '\\') {
    append_json(json, c);
    return Step::more;
  }
  escape_ = c;
  state_ = State::escape;
  return Step::more;
}

PythonLiteral::Step PythonLiteral::end_string(std::string& json) {
  end_surrogate(json);
  quotes_ = 0;
  json += '"';
  return end_value();
}

PythonLiteral::Step PythonLiteral::take_escape(char c, std::string& json) {
  if (escape_.size() == 1) {
    escape_ += c;
    if (!begin_escape(c, json)) state_ = State::string;
    return Step::more;
  }
  const char32_t value = digit(c, base_);
  if (value < base_) {
    escape_ += c;
    code_ = std::min<char32_t>(code_, 0x1000000) * base_ + value;
    if (--digits_ > 0) return Step::more;
    code_point(code_, json);
    state_ = State::string;
    return Step::more;
  }
  // Fewer digits than they should be: an octal escape is over, any other is no escape.
  state_ = State::string;
  if (base_ == 8) {
    code_point(code_, json);
  } else {
    end_surrogate(json);
    append_json(json, escape_);
  }
  return take_string(c, json);
}

// Whether more belongs to it than this character.
bool PythonLiteral::begin_escape(char c, std::string& json) {
  const bool octal = c >= '0' && c <= '7';
  base_ = octal ? 8 : 16;
  digits_ = octal ? 2 : c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  code_ = octal ? digit(c, base_) : 0;
  if (digits_ > 0) return true;
  end_surrogate(json);
  if (const auto meant = escaped(c)) {
    append_json(json, *meant);
  } else if (c != '\n') {  // a line that goes on
    append_json(json, escape_);
  }
  return false;
}

// Two halves of a character, as JSON writes them, are one.
void PythonLiteral::code_point(char32_t value, std::string& json) {
  const bool second = value >= 0xDC00 && value < 0xE000;
  if (second && surrogate_ != 0) {
    value = 0x10000 + ((std::exchange(surrogate_, 0) - 0xD800) << 10) + (value - 0xDC00);
  }
  end_surrogate(json);
  if (value >= 0xD800 && value < 0xDC00) {
    surrogate_ = value;
  } else if (value > 0x10FFFF || (value >= 0xDC00 && value < 0xE000)) {
    json += kReplacement;
  } else {
    std::string bytes;
    append_utf8(value, bytes);
    append_json(json, bytes);
  }
}

void PythonLiteral::end_surrogate(std::string& json) {
  if (std::exchange(surrogate_, 0) != 0) json += kReplacement;
}

std::optional<std::string> python_literal(std::string_view text, std::size_t most_depth) {
  PythonLiteral literal(most_depth);
  std::string json;
  for (const char c : std::string(text) + '\n') {
    if (literal.whole()) {
      if (!is_space(c)) return std::nullopt;
      continue;
    }
    PythonLiteral::Step step = literal.take(c, json);
    if (step == PythonLiteral::Step::again && !literal.whole()) step = literal.take(c, json);
    const bool lost = step == PythonLiteral::Step::again && !is_space(c);
    if (lost || step == PythonLiteral::Step::refused) return std::nullopt;
  }
  return literal.whole() ? std::optional(json) : std::nullopt;
}

}  // namespace baton::text
