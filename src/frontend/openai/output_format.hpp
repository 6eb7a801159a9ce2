// How an answer must look: `response_format`, vLLM's `structured_outputs` and its older `guided_*` as one
// thing, and the grammar that stands for it.
#pragma once

#include <string>
#include <vector>

#include "baton/text/answer_format.hpp"
#include "frontend/openai/json_fields.hpp"

namespace baton::frontend {

struct OutputFormat {
  enum class Kind : std::uint8_t { any, json_object, json_schema, regex, choice, grammar };
  Kind kind = Kind::any;
  Json schema;                       // json_schema
  std::string text;                  // regex, grammar
  std::vector<std::string> choices;  // choice
  std::string field;                 // where the client said so
};

// Errors are left in `fields`. At most one way of saying it may be used.
OutputFormat parse_output_format(JsonFields& fields);

// The grammar of an answer in this format, which is not `any`, of a model that reasons like this. Errors name
// the client's field.
Result<std::string> grammar_of(const OutputFormat& format, ReasoningFormat reasoning, bool inside_reasoning);

}  // namespace baton::frontend
