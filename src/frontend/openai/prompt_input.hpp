// What completions and embeddings are asked for: a string, an array of strings, an array of token ids, or an
// array of such arrays.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "baton/base/token.hpp"
#include "frontend/openai/json_fields.hpp"

namespace baton::frontend {

using PromptInput = std::variant<std::string, std::vector<TokenId>>;  // never empty ids

// Enough for every real batch; each is a request of its own at the engine.
inline constexpr std::size_t kMaxPrompts = 2048;

// At least one. Errors are left in `fields`, under the item's own name: "prompt[3][0]".
std::vector<PromptInput> parse_prompts(JsonFields& fields, const char* name, std::int32_t vocab);
std::string at(const std::string& name, std::size_t index);  // "prompt[3]"

// One id: an integer inside the vocabulary; nothing, with the error left in `fields`, otherwise.
std::optional<TokenId> parse_token_id(JsonFields& fields, const std::string& name, const Json& value,
                                      std::int32_t vocab);

}  // namespace baton::frontend
