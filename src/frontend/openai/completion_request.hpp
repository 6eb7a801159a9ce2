// POST /v1/completions: the body to a checked struct. Pure: no tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "frontend/openai/generation_fields.hpp"
#include "frontend/openai/prompt_input.hpp"

namespace baton::frontend {

struct CompletionRequest {
  GenerationFields fields;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
  bool add_special_tokens = true;
};

Result<CompletionRequest> parse_completion_request(std::string_view body, const ServedModel& model);

}  // namespace baton::frontend
