#include "text/jinja/lexer.hpp"

#include <algorithm>
#include <cctype>
#include <optional>

#include "text/jinja/strings.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*",
                                           "/",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           "<",  ">",  "=",  ".",  ":",  "|",  ",", ";"};

std::string unify_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();  // keep_trailing_newline is off
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (problem_.empty() && at_ < source_.size()) root();
    if (!problem_.empty()) {
      return make_error(ErrorCode::invalid_argument,
                        "chat template, line " + std::to_string(line_) + ": " + problem_);
    }
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  bool looking_at(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void push(TokenKind kind, std::string_view text) { tokens_.push_back({kind, std::string(text), line_}); }
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void skip_space() {
    std::size_t to = at_;
    while (to < source_.size() && is_space(code_point_at(source_, to).value))
      to += code_point_at(source_, to).length;
    advance(to);
  }

  // Text up to the next tag, then the tag.
  void root() {
    std::size_t open = at_;
    while ((open = source_.find('{', open)) != std::string_view::npos) {
      const char next = open + 1 < source_.size() ? source_[open + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') break;
      ++open;
    }
    if (open == std::string_view::npos) {
      push(TokenKind::data, source_.substr(at_));
      advance(source_.size());
      return;
    }
    const char kind = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    push_data(source_.substr(at_, open - at_), kind, sign);
    advance(open + 2);
    if (sign == '-' || sign == '+') ++at_;
    if (kind == '#') return comment();
    if (kind == '{') {
      push(TokenKind::variable_begin, "{{");
      return inside(TokenKind::variable_end);
    }
    if (raw_block()) return;
    push(TokenKind::block_begin, "{%");
    inside(TokenKind::block_end);
  }

  // `kind` and `sign` are those of the tag behind the text.
  void push_data(std::string_view text, char kind, char sign) {
    if (sign == '-') {
      text = strip(text, Side::right);
    } else if (sign != '+' && kind != '{') {
      // lstrip_blocks: white space alone between the line's beginning and the tag.
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      const bool at_line_begin = line > 0 || at_ == 0 || source_[at_ - 1] == '\n';
      if (at_line_begin && strip(text.substr(line), Side::left).empty()) text = text.substr(0, line);
    }
    if (!text.empty()) push(TokenKind::data, text);
  }

  // Behind a tag's closing: '-' takes all white space, '+' keeps everything, else one newline goes
  // (trim_blocks).
  void after_tag(char sign, bool trim_newline) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trim_newline && looking_at("\n")) {
      advance(at_ + 1);
    }
  }

  void comment() {
    const std::size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) {
      problem_ = "a comment without an end";
      return;
    }
    const char sign = close > at_ ? source_[close - 1] : '\0';
    advance(close + 2);
    after_tag(sign, true);
  }

  // {% raw %} ... {% endraw %}, at `raw`.
  bool raw_block() {
    std::size_t at = at_;
    const auto space = [&] {
      while (at < source_.size() && std::isspace(static_cast<unsigned char>(source_[at]))) ++at;
    };
    space();
    if (source_.substr(at, 3) != "raw") return false;
    at += 3;
    space();
    const bool strip_begin = source_.substr(at, 3) == "-%}";
    if (!strip_begin && source_.substr(at, 2) != "%}") return false;
    advance(at + (strip_begin ? 3 : 2));
    if (strip_begin) skip_space();
    for (std::size_t open = source_.find("{%", at_); open != std::string_view::npos;
         open = source_.find("{%", open + 2)) {
      at = open + 2;
      const char sign = at < source_.size() ? source_[at] : '\0';
      if (sign == '-' || sign == '+') ++at;
      space();
      if (source_.substr(at, 6) != "endraw") continue;
      at += 6;
      space();
      const char end_sign =
          at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : '\0';
      if (source_.substr(at, 2) != "%}") continue;
      push_data(source_.substr(at_, open - at_), '%', sign);
      advance(at + 2);
      after_tag(end_sign, true);
      return true;
    }
    problem_ = "raw without endraw";
    return true;
  }

  void inside(TokenKind end) {
    const std::string_view closing = end == TokenKind::block_end ? "%}" : "}}";
    std::vector<char> brackets;
    while (problem_.empty()) {
      skip_space();
      if (at_ >= source_.size()) {
        problem_ = "a tag without an end";
        return;
      }
      if (brackets.empty() && tag_end(end, closing)) return;
      expression_token(brackets);
    }
  }

  bool tag_end(TokenKind end, std::string_view closing) {
    const char sign =
        source_[at_] == '-' || (source_[at_] == '+' && end == TokenKind::block_end) ? source_[at_] : '\0';
    if (source_.substr(at_ + (sign != '\0' ? 1 : 0), 2) != closing) return false;
    push(end, closing);
    advance(at_ + 2 + (sign != '\0' ? 1 : 0));
    after_tag(sign, end == TokenKind::block_end);
    return true;
  }

  void expression_token(std::vector<char>& brackets) {
    const auto c = static_cast<unsigned char>(source_[at_]);
    if (c == '\'' || c == '"') return string_literal(static_cast<char>(c));
    if (std::isdigit(c)) return number();
    if (c == '_' || c >= 0x80 || std::isalpha(c)) {
      std::size_t end = at_;
      while (end < source_.size() && is_word(code_point_at(source_, end).value))
        end += code_point_at(source_, end).length;
      if (end == at_) {
        problem_ = "an unexpected character";
        return;
      }
      push(TokenKind::name, source_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      if (op == "(" || op == "[" || op == "{") brackets.push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
      if (op == ")" || op == "]" || op == "}") {
        if (brackets.empty() || brackets.back() != op[0]) {
          problem_ = "an unexpected '" + std::string(op) + "'";
          return;
        }
        brackets.pop_back();
      }
      push(TokenKind::op, op);
      at_ += op.size();
      return;
    }
    problem_ = "an unexpected character '" + std::string(1, static_cast<char>(c)) + "'";
  }

  void number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() &&
             (std::isdigit(static_cast<unsigned char>(source_[end])) || source_[end] == '_'))
        ++end;
    };
    const auto digit_at = [&](std::size_t i) {
      return i < source_.size() && std::isdigit(static_cast<unsigned char>(source_[i]));
    };
    digits();
    bool floating = false;
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      floating = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const bool sign = end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      if (digit_at(end + (sign ? 2 : 1))) {
        floating = true;
        end += sign ? 2 : 1;
        digits();
      }
    }
    std::string text(source_.substr(at_, end - at_));
    std::erase(text, '_');
    push(floating ? TokenKind::floating : TokenKind::integer, text);
    at_ = end;
  }

  void string_literal(char quote) {
    std::string text;
    std::size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote && problem_.empty()) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = escape(i + 1, text);
      } else {
        text += source_[i++];
      }
    }
    if (i >= source_.size() && problem_.empty()) problem_ = "a string without an end";
    if (!problem_.empty()) return;
    push(TokenKind::string, text);
    advance(i + 1);
  }

  // Python's unicode-escape. `i` is behind the backslash; returns where the next character begins.
  std::size_t escape(std::size_t i, std::string& text) {
    const char c = source_[i];
    static constexpr std::string_view kNames = "abfnrtv";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v";
    if (const std::size_t known = kNames.find(c); known != std::string_view::npos) {
      text += kValues[known];
      return i + 1;
    }
    if (c == '\n') return i + 1;
    if (c == '\\' || c == '\'' || c == '"') {
      text += c;
      return i + 1;
    }
    if (c >= '0' && c <= '7') return code(i, 3, 8, false, text);
    if (c == 'x') return code(i + 1, 2, 16, true, text);
    if (c == 'u') return code(i + 1, 4, 16, true, text);
    if (c == 'U') return code(i + 1, 8, 16, true, text);
    text += '\\';  // an unknown escape stays as it is
    return i;
  }

  std::size_t code(std::size_t i, int digits, unsigned base, bool exactly, std::string& text) {
    char32_t value = 0;
    int seen = 0;
    for (; seen < digits && i < source_.size(); ++seen, ++i) {
      const auto c = static_cast<unsigned char>(source_[i]);
      const bool good = base == 16 ? std::isxdigit(c) != 0 : c >= '0' && c <= '7';
      if (!good) break;
      value = value * base + (std::isdigit(c) ? c - '0' : static_cast<unsigned>(std::tolower(c)) - 'a' + 10U);
    }
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    if ((exactly && seen < digits) || value > 0x10FFFF || surrogate) {
      problem_ = "a wrong escape in a string";
      return i;
    }
    append_utf8(value, text);
    return i;
  }

  std::string_view source_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
  std::string problem_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  const std::string unified = unify_newlines(source);
  return Lexer(unified).run();
}

}  // namespace baton::text::jinja
