// Regular expressions, read by recursive descent: choices of sequences of repeated atoms.
//
// Capturing or not, lazy or not makes no difference to which texts match, so the tree knows nothing of it.
#include <algorithm>
#include <string>
#include <utility>

#include "text/grammar_text/regex_class.hpp"
#include "text/grammar_text/regex_tree.hpp"
#include "text/utf8.hpp"

namespace baton::text {

namespace {

using Kind = RegexNode::Kind;

struct Counts {
  std::size_t least = 0;
  std::size_t most = 0;
};

class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : cursor_{pattern} {}

  Result<RegexNode> whole() {
    auto node = choice(0);
    if (node && !cursor_.done()) return cursor_.wrong(ErrorCode::invalid_argument, "a ) that closes nothing");
    return node;
  }

 private:
  Result<RegexNode> choice(int depth) {
    if (depth > kMaxRegexDepth) return cursor_.wrong(ErrorCode::too_large, "groups nested too deep");
    RegexNode node;
    node.kind = Kind::choice;
    do {
      auto branch = sequence(depth);
      if (!branch) return branch;
      node.children.push_back(std::move(*branch));
    } while (cursor_.take("|"));
    if (node.children.size() == 1) return std::move(node.children[0]);
    return node;
  }

  Result<RegexNode> sequence(int depth) {
    RegexNode node;
    while (!cursor_.done() && !cursor_.ahead("|") && !cursor_.ahead(")")) {
      auto part = atom(depth);
      if (!part) return part;
      auto repeated = quantified(std::move(*part));
      if (!repeated) return repeated;
      node.children.push_back(std::move(*repeated));
    }
    return node;
  }

  Result<RegexNode> atom(int depth) {
    RegexNode node;
    if (cursor_.take("(")) return group(depth);
    if (cursor_.take("[")) return chars(parse_regex_class(cursor_));
    if (cursor_.ahead("\\A") || cursor_.ahead("^")) {
      cursor_.at += cursor_.ahead("^") ? 1 : 2;
      node.kind = Kind::begin;
      return node;
    }
    if (cursor_.ahead("\\Z") || cursor_.ahead("\\z") || cursor_.ahead("$")) {
      cursor_.at += cursor_.ahead("$") ? 1 : 2;
      node.kind = Kind::end;
      return node;
    }
    if (cursor_.take("\\")) return chars(parse_regex_escape(cursor_, false));
    if (cursor_.take(".")) return regex_chars(regex_dot());
    if (cursor_.ahead("*") || cursor_.ahead("+") || cursor_.ahead("?") || counts_ahead())
      return cursor_.wrong(ErrorCode::invalid_argument, "nothing that could be repeated");
    if (cursor_.ahead("{,"))  // a quantifier to some, two characters to others
      return cursor_.wrong(ErrorCode::unsupported, "a count without its smallest, which must be {0,");
    return regex_chars(CharSet::one(cursor_.next()));
  }

  static Result<RegexNode> chars(Result<CharSet> set) {
    if (!set) return set.error();
    return regex_chars(std::move(*set));
  }

  Result<RegexNode> group(int depth) {
    const std::size_t place = cursor_.at - 1;
    if (cursor_.take("?") && !cursor_.take(":")) {
      const bool named =
          !cursor_.ahead("<=") && !cursor_.ahead("<!") && (cursor_.take("P<") || cursor_.take("<"));
      if (!named) return cursor_.wrong(ErrorCode::unsupported, refused_group(), place);
      const std::size_t close = cursor_.pattern.find('>', cursor_.at);
      if (close == std::string_view::npos)
        return cursor_.wrong(ErrorCode::invalid_argument, "a group's name without its >", place);
      cursor_.at = close + 1;
    }
    auto inside = choice(depth + 1);
    if (inside && !cursor_.take(")"))
      return cursor_.wrong(ErrorCode::invalid_argument, "a group without its )", place);
    return inside;
  }

  std::string_view refused_group() const {
    if (cursor_.ahead("=") || cursor_.ahead("!") || cursor_.ahead("<"))
      return "lookahead and lookbehind are not supported";
    if (cursor_.ahead(">")) return "atomic groups are not supported";
    if (cursor_.ahead("P=")) return "back references are not supported";
    if (cursor_.ahead("(")) return "conditional groups are not supported";
    return "flags and other extended groups are not supported";
  }

  Result<RegexNode> quantified(RegexNode what) {
    const std::size_t place = cursor_.at;
    auto counts = quantifier();
    if (!counts) return counts.error();
    if (cursor_.at == place) return what;  // a "{," behind it is refused as the next atom
    const bool lazy = cursor_.take("?");
    if (!lazy && cursor_.ahead("+"))
      return cursor_.wrong(ErrorCode::unsupported, "possessive quantifiers are not supported");
    if (cursor_.ahead("*") || cursor_.ahead("+") || cursor_.ahead("?") || counts_ahead())
      return cursor_.wrong(ErrorCode::invalid_argument, "a quantifier behind a quantifier");
    if (what.kind == Kind::begin || what.kind == Kind::end)
      return cursor_.wrong(ErrorCode::invalid_argument, "an anchor cannot be repeated", place);
    return regex_repeat(std::move(what), counts->least, counts->most);
  }

  // Passes a quantifier; where there is none, passes nothing.
  Result<Counts> quantifier() {
    if (cursor_.take("*")) return Counts{0, kNoLimit};
    if (cursor_.take("+")) return Counts{1, kNoLimit};
    if (cursor_.take("?")) return Counts{0, 1};
    if (!counts_ahead()) return Counts{};
    const std::size_t place = cursor_.at++;
    Counts counts;
    counts.least = number();
    counts.most = counts.least;
    if (cursor_.take(",")) counts.most = cursor_.ahead("}") ? kNoLimit : number();
    ++cursor_.at;
    if (counts.least > counts.most)
      return cursor_.wrong(ErrorCode::invalid_argument, "a smallest count above the largest", place);
    if (counts.least > kMaxRepeats || (counts.most > kMaxRepeats && counts.most != kNoLimit))
      return cursor_.wrong(ErrorCode::too_large, "a count above " + std::to_string(kMaxRepeats), place);
    return counts;
  }

  // {2}, {2,} or {2,5}; a brace that begins nothing of this kind stands for itself.
  bool counts_ahead() const {
    RegexCursor probe = cursor_;
    const auto skip_digits = [&probe] {
      const std::size_t from = probe.at;
      while (!probe.done() && probe.pattern[probe.at] >= '0' && probe.pattern[probe.at] <= '9') ++probe.at;
      return probe.at > from;
    };
    if (!probe.take("{") || !skip_digits()) return false;
    if (probe.take(",")) skip_digits();
    return probe.take("}");
  }

  std::size_t number() {
    std::size_t value = 0;
    for (; cursor_.pattern[cursor_.at] >= '0' && cursor_.pattern[cursor_.at] <= '9'; ++cursor_.at) {
      const auto digit = static_cast<std::size_t>(cursor_.pattern[cursor_.at] - '0');
      value = std::min(value * 10 + digit, 2 * kMaxRepeats);
    }
    return value;
  }

  RegexCursor cursor_;
};

}  // namespace

Result<RegexNode> parse_regex(std::string_view pattern) {
  if (pattern.size() > kMaxRegexSize)
    return make_error(ErrorCode::too_large,
                      "a regular expression of more than " + std::to_string(kMaxRegexSize) + " bytes");
  if (!is_valid_utf8(pattern))
    return make_error(ErrorCode::invalid_argument, "a regular expression that is not UTF-8");
  return RegexParser(pattern).whole();
}

}  // namespace baton::text
