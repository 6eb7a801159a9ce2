#include "text/grammar/syntax.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr int kDepth = 200;                   // of groups inside each other
constexpr std::uint32_t kMostCopies = 65536;  // of a bounded repetition

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Syntax> parse() {
    skip_space();
    while (!error_ && at_ < text_.size()) rule();
    if (!error_) resolve();
    if (error_) return *error_;
    return std::move(syntax_);
  }

 private:
  struct Escape {
    char32_t value = 0;
    bool byte = false;  // \x80 and above: that byte, not that character
  };

  // ---- characters
  void fail(std::string what, std::size_t where) {
    if (error_) return;
    const auto line = 1 + std::ranges::count(text_.substr(0, std::min(where, text_.size())), '\n');
    error_ = make_error(ErrorCode::invalid_argument, "The grammar is wrong in line " + std::to_string(line) +
                                                         ": " + std::move(what) + ".");
  }
  void fail(std::string what) { fail(std::move(what), at_); }
  bool at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  // Whether a name stands here with "::=" behind it: the next rule begins.
  bool at_rule() {
    const std::size_t begin = at_;
    const bool named = !name().empty();
    skip_space();
    const bool defines = named && at("::=");
    at_ = begin;
    return defines;
  }

  // ---- rules
  RuleId rule_named(const std::string& name, std::size_t where) {
    const auto [found, added] = by_name_.try_emplace(name, static_cast<RuleId>(syntax_.rules.size()));
    if (added) {
      syntax_.rules.push_back(0);
      syntax_.names.push_back(name);
      defined_.push_back(false);
      used_at_.push_back(where);
    }
    return found->second;
  }

  void rule() {
    const std::size_t begin = at_;
    if (!at_rule()) return fail("expected a rule, name ::= ...");
    const RuleId id = rule_named(name(), begin);
    if (defined_[id]) return fail("rule '" + syntax_.names[id] + "' is defined twice", begin);
    defined_[id] = true;
    skip_space();
    at_ += 3;
    skip_space();
    syntax_.rules[id] = alternatives(0);
  }

  void resolve() {
    for (RuleId id = 0; id < defined_.size(); ++id)
      if (!defined_[id]) return fail("rule '" + syntax_.names[id] + "' is not defined", used_at_[id]);
    const auto root = by_name_.find("root");
    if (root == by_name_.end()) return fail("there is no rule 'root'", 0);
    syntax_.root = root->second;
  }

  // ---- expressions
  ExpressionId add(Expression expression) {
    syntax_.expressions.push_back(std::move(expression));
    return static_cast<ExpressionId>(syntax_.expressions.size() - 1);
  }
  ExpressionId combine(Expression::Kind kind, std::vector<ExpressionId> parts) {
    if (parts.size() == 1) return parts.front();
    Expression out{.kind = kind};
    out.parts = std::move(parts);
    return add(std::move(out));
  }

  ExpressionId alternatives(int depth) {
    if (depth > kDepth) {
      fail("groups are nested too deeply");
      return 0;
    }
    std::vector<ExpressionId> parts;
    do {
      skip_space();
      parts.push_back(sequence(depth));
    } while (!error_ && take('|'));
    return combine(Expression::Kind::choice, std::move(parts));
  }

  ExpressionId sequence(int depth) {
    std::vector<ExpressionId> parts;
    while (!error_ && at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')') {
      if (is_name(text_[at_]) && at_rule()) break;
      parts.push_back(repeated(atom(depth)));
      skip_space();
    }
    if (parts.empty() && !error_) fail("an alternative is empty; write \"\" for no text");
    return combine(Expression::Kind::sequence, std::move(parts));
  }

  ExpressionId atom(int depth) {
    const std::size_t begin = at_;
    if (take('"')) return literal();
    if (take('[')) return character_set();
    if (take('.')) {
      Expression any{.kind = Expression::Kind::set};
      any.characters = CharSet().complement();
      return add(std::move(any));
    }
    if (take('(')) {
      const ExpressionId inner = alternatives(depth + 1);
      if (!take(')')) fail("a group is not closed", begin);
      return inner;
    }
    if (is_name(text_[at_])) {
      Expression use{.kind = Expression::Kind::rule};
      use.rule = rule_named(name(), begin);
      return add(std::move(use));
    }
    fail("unexpected character '" + std::string(1, text_[at_]) + "'");
    return 0;
  }

  ExpressionId repeated(ExpressionId inner) {
    for (;;) {
      if (error_ || at_ >= text_.size()) return inner;
      Expression out{.kind = Expression::Kind::repeat};
      out.parts = {inner};
      out.most = kUnbounded;
      if (take('*')) {
      } else if (take('+')) {
        out.least = 1;
      } else if (take('?')) {
        out.most = 1;
      } else if (take('{')) {
        bounds(out);
      } else {
        return inner;
      }
      inner = add(std::move(out));
    }
  }

  void bounds(Expression& out) {
    const std::size_t begin = at_;
    skip_space();
    const std::optional<std::uint32_t> least = number();
    skip_space();
    out.least = least.value_or(0);
    if (take(',')) {
      skip_space();
      const std::optional<std::uint32_t> most = number();
      if (!least && !most) return fail("a repetition {,} has no numbers", begin);
      out.most = most.value_or(kUnbounded);
      skip_space();
    } else {
      if (!least) return fail("a repetition has no number", begin);
      out.most = out.least;
    }
    if (!take('}')) return fail("a repetition is not closed", begin);
    if (out.least > out.most) fail("a repetition's least is more than its most", begin);
  }

  std::optional<std::uint32_t> number() {
    const std::size_t begin = at_;
    std::uint32_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + static_cast<std::uint32_t>(text_[at_++] - '0');
      if (value > kMostCopies) {
        fail("a repetition of more than " + std::to_string(kMostCopies), begin);
        return std::nullopt;
      }
    }
    if (at_ == begin) return std::nullopt;
    return value;
  }

  // ---- text
  ExpressionId literal() {
    const std::size_t begin = at_;
    Expression out{.kind = Expression::Kind::bytes};
    while (!error_) {
      if (at_ >= text_.size() || text_[at_] == '\n') {
        fail("a text is not closed", begin);
      } else if (take('"')) {
        return add(std::move(out));
      } else if (take('\\')) {
        const Escape escape = escaped();
        if (escape.byte) {
          out.bytes += static_cast<char>(escape.value);
        } else {
          append_utf8(escape.value, out.bytes);
        }
      } else {
        out.bytes += text_[at_++];
      }
    }
    return 0;
  }

  ExpressionId character_set() {
    const std::size_t begin = at_;
    const bool negated = take('^');
    std::vector<CharSet::Range> ranges;
    while (!error_ && !take(']')) {
      if (at_ >= text_.size() || text_[at_] == '\n') {
        fail("a set of characters is not closed", begin);
        break;
      }
      const char32_t first = set_member();
      char32_t last = first;
      if (at("-") && !at("-]")) {
        ++at_;
        last = at_ < text_.size() ? set_member() : 0;
      }
      if (!error_ && last < first) fail("a range of characters runs backwards", begin);
      ranges.push_back({first, last});
    }
    Expression out{.kind = Expression::Kind::set};
    out.characters = negated ? CharSet(ranges).complement() : CharSet(ranges);
    if (!error_ && out.characters.ranges().empty()) fail("a set has no characters", begin);
    return add(std::move(out));
  }

  char32_t set_member() {
    if (take('\\')) {
      const Escape escape = escaped();
      if (escape.byte) fail("a set has characters, not bytes: write \\u00XX");
      return escape.value;
    }
    const CodePoint point = code_point_at(text_, at_);  // the text is valid UTF-8
    at_ += point.length;
    return point.value;
  }

  // Behind the backslash.
  Escape escaped() {
    if (at_ >= text_.size()) {
      fail("an escape has no character");
      return {};
    }
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        return {'\n'};
      case 'r':
        return {'\r'};
      case 't':
        return {'\t'};
      case 'x': {
        const char32_t value = hexadecimal(2);
        return {value, value >= 0x80};
      }
      case 'u':
        return {character(hexadecimal(4))};
      case 'U':
        return {character(hexadecimal(8))};
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return {static_cast<char32_t>(c)};
      default:
        fail("unknown escape '\\" + std::string(1, c) + "'");
        return {};
    }
  }

  char32_t hexadecimal(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = at_ < text_.size() ? hex_value(text_[at_]) : -1;
      if (digit < 0) {
        fail("an escape wants " + std::to_string(digits) + " hexadecimal digits");
        return 0;
      }
      value = value << 4 | static_cast<char32_t>(digit);
      ++at_;
    }
    return value;
  }

  char32_t character(char32_t value) {
    if (value <= kLastCharacter && (value < 0xD800 || value > 0xDFFF)) return value;
    fail("an escape is no character of Unicode");
    return 0;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Syntax syntax_;
  std::map<std::string, RuleId> by_name_;
  std::vector<bool> defined_;         // by rule
  std::vector<std::size_t> used_at_;  // by rule: where it was named first
  std::optional<Error> error_;
};

}  // namespace

Result<Syntax> parse_grammar(std::string_view text, std::size_t most_bytes) {
  if (text.size() > most_bytes)
    return make_error(ErrorCode::too_large, "The grammar has " + std::to_string(text.size()) +
                                                " bytes; at most " + std::to_string(most_bytes) +
                                                " are taken.");
  if (!is_valid_utf8(text)) return make_error(ErrorCode::invalid_argument, "The grammar is not valid UTF-8.");
  return Parser(text).parse();
}

}  // namespace baton::text
