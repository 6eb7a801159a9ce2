// POST /v1/completions: the body to a checked struct. Pure: no tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "frontend/openai/generation_fields.hpp"

namespace baton::frontend {

using PromptInput = std::variant<std::string, std::vector<TokenId>>;  // never empty ids

struct CompletionRequest {
  GenerationFields fields;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
  bool add_special_tokens = true;
};

Result<CompletionRequest> parse_completion_request(std::string_view body, const ServedModel& model);

}  // namespace baton::frontend
