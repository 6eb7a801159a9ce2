// The types that a JSON schema lets through, as far as it says them plainly.
#pragma once

#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_keywords.hpp"

namespace baton::text {

// Of `schema`, whose references lead into `root`. Strings where it says nothing, as vLLM has it.
JsonTypes types_of_schema(const Json& schema, const Json& root);

}  // namespace baton::text
