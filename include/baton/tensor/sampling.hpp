// What a device needs to know to pick a token from a row of logits by itself. The semantics are those of
// model/sampler.hpp, token for token; this is the same request in plain arrays.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace baton {

struct RowSampling {
  float temperature = 0.0F;  // 0: greedy
  float top_p = 1.0F;
  float min_p = 0.0F;
  std::int32_t top_k = 0;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  float repetition_penalty = 1.0F;
  std::uint32_t choice = 0;
  std::uint64_t seed = 0;
  std::uint64_t output_index = 0;
  std::int32_t logprobs = -1;  // -1: none
  std::vector<std::pair<std::int32_t, float>>
      bias;  // by token; those of one token in the order of the request
  std::vector<std::pair<std::int32_t, std::int32_t>>
      counts;  // tokens of prompt and output, each once, and how often the output has it; where there are
               // penalties
  std::vector<std::int32_t> banned;
  // Bit i % 32 of word i / 32: token i is allowed; an id beyond the words is not. Empty: all are. The words
  // are the caller's, until sample() returns.
  std::span<const std::uint32_t> mask;
};

struct RowSample {
  std::int32_t token = 0;
  bool nan = false;      // the row held nothing but NaN, as far as was looked: the token means nothing
  float logprob = 0.0F;  // where asked for
  std::vector<std::pair<std::int32_t, float>> top;  // most likely first
};

}  // namespace baton
