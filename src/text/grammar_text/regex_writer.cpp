#include "text/grammar_text/regex_writer.hpp"

#include <optional>
#include <utility>

#include "text/grammar_text/json_values.hpp"
#include "text/utf8.hpp"

namespace baton::text {

namespace {

using Kind = RegexNode::Kind;

class Writer {
 public:
  Writer(GrammarText& out, Spelling spelling) : out_(out), spelling_(spelling) {}

  std::string write(const RegexNode& node) {
    switch (node.kind) {
      case Kind::chars:
        return chars(node.chars);
      case Kind::sequence:
        return sequence(node);
      case Kind::choice:
        return choice(node);
      case Kind::repeat:
        return repeat(node);
      case Kind::begin:
      case Kind::end:
        break;  // none is left
    }
    return "\"\"";
  }

 private:
  std::string chars(const CharSet& set) {
    if (const auto character = literal_of(set)) return GrammarText::literal(spelled(*character));
    constexpr std::size_t kLong = 24;
    std::string written = spelling_ == Spelling::json ? json_class(set) : plain_class(set);
    return written.size() > kLong ? out_.rule("characters", written) : written;
  }

  // The one character of a set, where it has one spelling: not \u001B, which is \u001b as well.
  std::optional<char32_t> literal_of(const CharSet& set) const {
    const auto character = set.single();
    constexpr std::size_t kShort = 4;
    const bool one =
        character && (spelling_ == Spelling::plain || json_spelling(*character).size() <= kShort);
    return one ? character : std::nullopt;
  }

  std::string spelled(char32_t character) const {
    if (spelling_ == Spelling::json) return json_spelling(character);
    std::string text;
    append_utf8(character, text);
    return text;
  }

  std::string sequence(const RegexNode& node) {
    std::string written;
    const auto add = [&](const std::string& part) { written += (written.empty() ? "" : " ") + part; };
    std::string text;  // characters that stand for themselves, to be one literal
    for (const RegexNode& child : node.children) {
      const auto character = child.kind == Kind::chars ? literal_of(child.chars) : std::nullopt;
      if (character) {
        text += spelled(*character);
        continue;
      }
      if (!text.empty()) add(GrammarText::literal(std::exchange(text, {})));
      if (child.kind != Kind::sequence || !child.children.empty()) add(write(child));
    }
    if (!text.empty()) add(GrammarText::literal(text));
    return written.empty() ? "\"\"" : written;
  }

  std::string choice(const RegexNode& node) {
    std::string written;
    for (const RegexNode& child : node.children) written += (written.empty() ? "(" : " | ") + write(child);
    return written + ")";
  }

  std::string repeat(const RegexNode& node) {
    if (node.most == 0) return "\"\"";
    const RegexNode& what = node.children[0];
    const std::string body = what.kind == Kind::chars ? write(what) : "(" + write(what) + ")";
    return body + repeated(node.least, node.most);
  }

  GrammarText& out_;
  Spelling spelling_;
};

}  // namespace

std::string write_regex(GrammarText& out, const RegexNode& node, Spelling spelling) {
  return Writer(out, spelling).write(node);
}

}  // namespace baton::text

namespace baton {

Result<std::string> GrammarText::regex(std::string_view pattern) {
  auto parsed = text::parse_regex(pattern);
  if (!parsed) return parsed.error();
  auto node = text::without_anchors(std::move(*parsed), false);
  if (!node) return node.error();
  return rule("regex", text::write_regex(*this, *node, text::Spelling::plain));
}

}  // namespace baton
