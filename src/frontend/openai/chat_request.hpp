// POST /v1/chat/completions: the body to a checked struct. Pure: no tokenizer, no template.
//
// Invariant: `template_variables` holds everything that the chat template may see, with each message's
// content as one string (or null), so that every template can read it.
#pragma once

#include <string>
#include <string_view>

#include "frontend/openai/generation_fields.hpp"

namespace baton::frontend {

struct ToolChoice {
  enum class Kind {
    none,       // no calls: there are no tools, or the client wants none
    automatic,  // the model decides
    required,   // at least one call
    named,      // a call of `function`
  };
  Kind kind = Kind::none;
  std::string function;  // among the request's tools
};

struct ChatRequest {
  GenerationFields fields;
  Json template_variables;  // messages, add_generation_prompt, tools, documents, reasoning_effort,
                            // chat_template_kwargs
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  bool include_reasoning = true;
};

Result<ChatRequest> parse_chat_request(std::string_view body, const ServedModel& model);
// The part that /tokenize shares: messages and what shapes the prompt. Errors are left in `fields`.
Json parse_template_variables(JsonFields& fields, const ServedModel& model);

}  // namespace baton::frontend
