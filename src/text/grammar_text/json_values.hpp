// JSON of any kind, as rules of a grammar.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "baton/text/grammar_text.hpp"

namespace baton::text {

using Json = nlohmann::ordered_json;

// What may stand behind `{`, `[`, `,` and `:` and before `}` and `]`: nothing, a space, or a new line with
// its indentation. It is bounded, for a model that may write spaces for ever sometimes does.
std::string json_space(GrammarText& out);
std::string json_character(GrammarText& out);  // one character of a string, in any spelling
std::string json_string(GrammarText& out);
std::string json_integer(GrammarText& out);
std::string json_number(GrammarText& out);
std::string json_boolean(GrammarText& out);
std::string json_value(GrammarText& out);

// A string as JSON text, whatever its bytes.
std::string json_quoted(std::string_view text);
// An expression for just this value, with json_space between its parts.
std::string json_constant(GrammarText& out, const Json& value);
// `members` and json_space inside brackets or braces; `optional`: nothing may stand there, too.
std::string json_enclosed(GrammarText& out, std::string_view brackets, const std::string& members,
                          bool optional);

// What is put together from the end is copied at each step: longer than this it becomes a rule.
inline constexpr std::size_t kLongText = 1024;

// "{2,5}", "*", "+", "?" or "": that many of what stands before it.
std::string repeated(std::size_t least, std::size_t most);

}  // namespace baton::text
