// From a request's body to token ids: parsing, chat template, tokenizer. Pure but slow (a long prompt takes
// milliseconds), so it runs on the text pool, never on an io thread. What binds the answers is only noted
// here: answer_grammar writes and compiles it, on another pool.
//
// Invariant: each prepared prompt fits the context with at least one token of room, each input to embed
// without.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "baton/frontend/server.hpp"
#include "frontend/answer_reader.hpp"
#include "frontend/http_message.hpp"
#include "frontend/openai/embedding_response.hpp"
#include "frontend/openai/generation_fields.hpp"

namespace baton::frontend {

struct PreparedPrompt {
  std::vector<TokenId> ids;
  std::int32_t max_tokens = 0;
  std::string echo;  // text that the answer repeats before its own
};

// Tool calls that the answers must be.
struct ForcedAnswer {
  Json tools;            // checked: at least one function
  std::string function;  // the one that is meant; empty: any of them
  bool several = false;  // or exactly one call
};

struct PreparedRequest {
  bool chat = true;
  std::string tenant;  // the API key's name; empty where there are no keys
  GenerationFields fields;
  std::string cache_salt;              // isolation_salt of tenant and fields.cache_salt
  std::string bound_by;                // the client's field that binds the answers; empty: nothing does
  std::optional<ForcedAnswer> forced;  // else, where something binds them, it is fields.format
  SharedText grammar;                  // of bound answers, from bind_answer
  std::shared_ptr<const TokenGrammar> compiled_grammar;
  std::vector<PreparedPrompt> prompts;
  AnswerRules answer;  // of a chat

  Hash128 adapter() const { return fields.adapter ? fields.adapter->fingerprint : Hash128{}; }
  std::size_t choices() const { return prompts.size() * static_cast<std::size_t>(fields.n); }
};

struct PreparedInput {
  std::string name;  // the client's, for errors
  std::vector<TokenId> ids;
};

struct PreparedEmbeddings {
  std::string model;  // what the answer says
  std::string tenant;
  std::string cache_salt;  // isolation_salt of both
  std::int32_t priority = 0;
  Hash128 adapter;
  EmbeddingFormat format;
  std::vector<PreparedInput> inputs;
};

// `tenant` is whose prefix cache it may use; empty where there are no keys.
Result<PreparedRequest> prepare_chat(std::string_view body, const std::string& tenant,
                                     const FrontendServices& services);
Result<PreparedRequest> prepare_completion(std::string_view body, const std::string& tenant,
                                           const FrontendServices& services);

Result<PreparedEmbeddings> prepare_embeddings(std::string_view body, const std::string& tenant,
                                              const FrontendServices& services);

// POST /tokenize and /detokenize.
HttpReply answer_tokenize(std::string_view body, const FrontendServices& services);
HttpReply answer_detokenize(std::string_view body, const FrontendServices& services);
// POST /route/explain: the body of a chat completion or completion, of which the first prompt counts, and
// optionally the `tenant` that is meant to send it.
HttpReply answer_explain(std::string_view body, const std::string& tenant, const FrontendServices& services);
// PUT /engines/{node}/role: {"role": "mixed" | "prefill" | "decode"}.
HttpReply answer_role(const std::string& node, std::string_view body, const FrontendServices& services);

}  // namespace baton::frontend
