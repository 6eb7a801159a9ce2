// POST /v1/embeddings: the body to a checked struct. Pure: no tokenizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/frontend/server.hpp"
#include "frontend/openai/embedding_response.hpp"
#include "frontend/openai/prompt_input.hpp"

namespace baton::frontend {

struct EmbeddingInput {
  std::string name;  // the client's: "input", or of several "input[3]"
  PromptInput what;  // never empty
};

struct EmbeddingRequest {
  std::vector<EmbeddingInput> inputs;  // at least one
  EmbeddingFormat format;
  std::optional<std::int32_t> keep;  // of an input no more than its last tokens
  bool add_special_tokens = true;
  std::string cache_salt;
  std::int32_t priority = 0;
  std::optional<AdapterInfo> adapter;  // none: the model alone
};

// unsupported with field "model" where the model makes no embeddings.
Result<EmbeddingRequest> parse_embedding_request(std::string_view body, const ServedModel& model);

}  // namespace baton::frontend
