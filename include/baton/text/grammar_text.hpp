// Writing grammars (docs/grammar.md): from JSON schemas, regular expressions and lists of choices, as clients
// ask for them.
//
// A GrammarText collects rules; its methods return what stands for the asked-for text inside an expression
// of it (a rule's name or a literal), so that forms can be put together: a tool call is a literal, a schema,
// a literal.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

class GrammarText {
 public:
  // `text` as a literal of the notation, quotes included.
  static std::string literal(std::string_view text);

  // A JSON value that follows `schema` (a boolean or an object; what is supported: docs/grammar.md). Keys
  // come in the order of the schema. unsupported or invalid_argument name the keyword and where it stands
  // ("properties.age.multipleOf"), too_large a schema beyond the limits.
  Result<std::string> json_schema(const nlohmann::ordered_json& schema);
  std::string json_object();  // any JSON object
  // The whole text matches `pattern` (the subset of regular expressions in docs/grammar.md, anchored at both
  // ends). invalid_argument or unsupported with what is wrong and at which character.
  Result<std::string> regex(std::string_view pattern);
  std::string choice(std::span<const std::string> texts);  // one of these; at least one
  // Any text, up to and including the first `end`, which is not empty.
  std::string until(std::string_view end);
  // Adds a rule; returns its name: `name`, with a number behind it where that is taken.
  std::string rule(std::string_view name, std::string_view body);

  // The whole grammar, whose output is `root`, an expression.
  std::string text(std::string_view root) const;

 private:
  std::map<std::string, std::string> rules_;    // by name
  std::map<std::string, std::string> written_;  // what stands for a form that was asked for before
};

}  // namespace baton
