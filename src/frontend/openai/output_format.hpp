// How an answer must look: `response_format`, vLLM's `structured_outputs` and its older `guided_*` as one
// thing, and the grammar that stands for it.
#pragma once

#include <string>
#include <vector>

#include "baton/text/grammar_text.hpp"
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

// Where an answer thinks first: what ends it, what begins it, and whether the prompt has begun it already.
struct ThinkingFirst {
  std::string begin, end;  // both empty: it does not think
  bool begun = false;
};

// The grammar of an answer in this format, which is not `any`. Errors name the client's field.
Result<std::string> grammar_of(const OutputFormat& format, const ThinkingFirst& thinking);
// `answer`, an expression of `grammar`, with what may be thought before it.
std::string grammar_behind(GrammarText& grammar, const std::string& answer, const ThinkingFirst& thinking);

}  // namespace baton::frontend
