// Writing grammars (docs/grammar.md): from JSON schemas, regular expressions and lists of choices, as clients
// ask for them.
//
// A GrammarText collects rules; its methods return what stands for the asked-for text inside an expression
// of it (a rule's name or a literal), so that forms can be put together: a tool call is a literal, a schema,
// a literal.
#pragma once

#include <functional>
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
  // ("properties.age.multipleOf"), too_large a schema beyond the limits. After an error the text is of no
  // use.
  Result<std::string> json_schema(const nlohmann::ordered_json& schema);
  std::string json_object();  // any JSON object
  // The whole text matches `pattern` (the subset of regular expressions in docs/grammar.md, anchored at both
  // ends). invalid_argument or unsupported with what is wrong and at which character.
  Result<std::string> regex(std::string_view pattern);
  std::string choice(std::span<const std::string> texts);  // one of these; at least one
  // Any text, up to and including the first `end`, which is not empty.
  std::string until(std::string_view end);

  // Adds a rule and returns its name: that of a rule with the same body where there is one, otherwise `name`,
  // with a number behind it where that is taken.
  std::string rule(std::string_view name, std::string_view body);
  // The same in two steps, for rules that name each other.
  std::string reserve(std::string_view name);
  void define(const std::string& reserved, std::string_view body);

  // What stands for a form that has no body of its own to be known by; null where it was not kept.
  const std::string* known(std::string_view form) const;
  void keep(std::string_view form, const std::string& expression);

  // The whole grammar, whose output is `root`, an expression.
  std::string text(std::string_view root) const;
  std::size_t size() const { return size_; }  // of the rules so far, in bytes of text()

 private:
  std::map<std::string, std::string> rules_;                 // bodies by name
  std::map<std::string, std::string, std::less<>> written_;  // what stands for a body or a form
  std::map<std::string, std::size_t> numbers_;               // the last number behind a name
  std::size_t size_ = 0;
};

}  // namespace baton
