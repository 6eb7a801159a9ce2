// The fields that chat and text completions share: sampling, stopping, streaming, scheduling.
//
// Invariant: what parse_generation_fields returns lies within the documented ranges, and carries the model's
// defaults where the client said nothing. What cannot be honoured is refused by name, never dropped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "baton/frontend/server.hpp"
#include "frontend/openai/output_format.hpp"

namespace baton::frontend {

struct GenerationFields {
  SamplingParams sampling;  // seed: only where has_seed
  bool has_seed = false;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  std::int32_t min_tokens = 0;
  std::optional<std::int32_t> max_tokens;
  std::string max_tokens_field = "max_tokens";  // the name that the client used
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  std::int32_t n = 1;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  std::string cache_salt;
  std::int32_t priority = 0;
  OutputFormat format;
  std::optional<AdapterInfo> adapter;  // none: the model alone
};

inline constexpr int kMaxChoices = 128;
inline constexpr int kMaxStopStrings = 16;
inline constexpr int kMaxLogprobs = 20;

// The adapter that the model's name means, if it means one. Errors are left in `fields`: not_found with field
// "model" where the model is not served here; an absent model means the served one.
std::optional<AdapterInfo> check_model(JsonFields& fields, const ServedModel& model);
GenerationFields parse_generation_fields(JsonFields& fields, const ServedModel& model);
// Other servers' ways for a client to say where KV blocks come from: handles into foreign memory, if they
// were believed. Here the router alone says it, and no client field gets there.
void refuse_transfer_fields(JsonFields& fields);

// How many tokens may be generated after a prompt of this length. too_large where nothing fits or the
// client's own number does not.
Result<std::int32_t> resolve_max_tokens(const GenerationFields& fields, std::int32_t prompt_tokens,
                                        std::optional<std::int32_t> fallback, std::int32_t context);

}  // namespace baton::frontend
