// Strings: by length, by pattern, by format.
#include <algorithm>
#include <utility>

#include "text/grammar_text/regex_writer.hpp"
#include "text/grammar_text/schema_writer.hpp"
#include "text/grammar_text/string_formats.hpp"

namespace baton::text {

namespace {

std::string in_quotes(GrammarText& out, const std::string& characters) {
  return out.rule("string", "\"\\\"\" " + characters + " \"\\\"\"");
}

// The only part of an expression, where it has just one: of "^[a-z]+$" the repetition.
const RegexNode& only_part(const RegexNode& node) {
  const RegexNode* only = &node;
  while (only->kind == RegexNode::Kind::sequence) {
    const RegexNode* found = nullptr;
    for (const RegexNode& child : only->children) {
      const bool empty = child.kind == RegexNode::Kind::sequence && child.children.empty();
      if (!empty && found != nullptr) return *only;
      if (!empty) found = &child;
    }
    if (found == nullptr) return *only;
    only = found;
  }
  return *only;
}

std::optional<std::string> by_pattern(SchemaWriter& writer, const Json& schema, const SchemaPlace& place,
                                      RegexLength wanted) {
  const std::string path = path_of(place.path, "pattern");
  if (!schema["pattern"].is_string()) {
    writer.errors().invalid(path, "must be a string");
    return "";
  }
  auto parsed = parse_regex(schema["pattern"].get_ref<const std::string&>());
  auto node = parsed ? without_anchors(std::move(*parsed), true) : std::move(parsed);
  if (!node) {
    writer.errors().set(node.error().code, path, node.error().message);
    return "";
  }
  const RegexLength length = regex_length(*node);
  if (length.least >= wanted.least && length.most <= wanted.most)
    return in_quotes(writer.out(), write_regex(writer.out(), *node, Spelling::json));
  if (length.least > wanted.most || length.most < wanted.least)
    return writer.nothing(place, "pattern", "has no match of the wanted length");
  RegexNode part = only_part(*node);
  if (part.kind != RegexNode::Kind::repeat || part.children[0].kind != RegexNode::Kind::chars) {
    const char* keyword = length.least < wanted.least ? "minLength" : "maxLength";
    writer.errors().unsupported(path_of(place.path, keyword), "is not supported together with this pattern");
    return "";
  }
  part.least = std::max(part.least, wanted.least);
  part.most = std::min(part.most, wanted.most);
  return in_quotes(writer.out(), write_regex(writer.out(), part, Spelling::json));
}

}  // namespace

std::optional<std::string> write_string(SchemaWriter& writer, const Json& schema, const SchemaPlace& place) {
  RegexLength wanted{writer.count(schema, place, "minLength", 0),
                     writer.count(schema, place, "maxLength", kNoLimit)};
  if (wanted.least > wanted.most) return writer.nothing(place, "minLength", "is more than maxLength");
  if (wanted.least > kMaxRepeats)
    writer.errors().set(ErrorCode::too_large, path_of(place.path, "minLength"), "is too long");
  // A text longer than what the notation can count is not worth a refusal: it is just not written.
  if (wanted.most != kNoLimit) wanted.most = std::min(wanted.most, kMaxRepeats);
  if (schema.contains("pattern")) return by_pattern(writer, schema, place, wanted);
  if (const auto format = schema.find("format"); format != schema.end() && format->is_string()) {
    const RegexNode* known = string_format(format->get_ref<const std::string&>());
    const RegexLength length = known != nullptr ? regex_length(*known) : RegexLength{};
    if (known != nullptr && length.least >= wanted.least && length.most <= wanted.most)
      return in_quotes(writer.out(), write_regex(writer.out(), *known, Spelling::json));
  }
  if (wanted.least == 0 && wanted.most == kNoLimit) return json_string(writer.out());
  if (wanted.most == 0) return "\"\\\"\\\"\"";
  return in_quotes(writer.out(), json_character(writer.out()) + repeated(wanted.least, wanted.most));
}

}  // namespace baton::text
