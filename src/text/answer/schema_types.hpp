// What a JSON schema lets through, as far as it says so plainly: of which types, and which values where it
// lists them. Work counts against a budget that a request's schemas share: references can make a small schema
// large.
#pragma once

#include <optional>
#include <vector>

#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_errors.hpp"
#include "text/grammar_text/schema_keywords.hpp"

namespace baton::text {

// Null where it is not there, also where `object` is none.
inline const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

// Of `schema`, whose references lead into `root`. Strings where it says nothing, as vLLM has it, and once
// `budget` has run out.
JsonTypes types_of_schema(const Json& schema, const Json& root, SchemaErrors& budget);

// The only values that may follow `schema`: by enum, const or the type null, itself or through $ref, allOf,
// anyOf and oneOf, of which each branch must list its own. What else the schema says of them is not looked
// at. Nothing where it lists none, and once `budget` has run out. They stand in `root`, `schema`, or static.
std::optional<std::vector<const Json*>> listed_values(const Json& schema, const Json& root,
                                                      SchemaErrors& budget);

}  // namespace baton::text
