// Sampling one token from a row of logits. Pure: the same input gives the same token, on every node, in any
// batch.
//
// Gumbel-max with noise keyed by (seed, choice, output index, token id), so top-k/top-p only mask candidates.
// Penalties are computed from the token ids every time. Order: logit_bias, penalties (repetition over prompt
// and output; presence and frequency over output), banned tokens and those outside the mask, temperature,
// top_k, top_p, min_p. Temperature 0 is greedy. The lowest id wins every tie. A NaN logit counts as -inf;
// where every logit is -inf, the lowest id that is allowed and not banned is taken. Logarithms and
// exponentials are computed with our own IEEE arithmetic (src/model/exact_math.hpp), so that equal logits
// give equal tokens under any libm.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "baton/base/token.hpp"

namespace baton {

struct SamplingParams {
  float temperature = 1.0F;
  float top_p = 1.0F;
  float min_p = 0.0F;      // keep tokens at least this likely, relative to the most likely one
  std::int32_t top_k = 0;  // 0: off
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  float repetition_penalty = 1.0F;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::uint64_t seed = 0;      // drawn by the accepting daemon where the client gave none
  std::int32_t logprobs = -1;  // -1: none; n: of the chosen token and the n most likely ones (model
                               // distribution, before temperature)

  bool has_penalties() const {
    return presence_penalty != 0 || frequency_penalty != 0 || repetition_penalty != 1;
  }
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0.0F;  // natural logarithm; -9999 where the probability is zero, as OpenAI writes it
};

struct SampledToken {
  TokenId token = 0;
  float logprob = 0.0F;           // only where asked for
  std::vector<TokenLogprob> top;  // most likely first
};

struct SampleInput {
  std::span<const float> logits;  // [vocab]
  std::span<const TokenId> prompt;
  std::span<const TokenId> output;  // generated so far
  std::uint32_t choice = 0;
  std::span<const TokenId> banned;  // e.g. EOS below min_tokens
  // Bit i % 32 of word i / 32: token i is allowed; an id beyond the words is not. Empty: all are.
  std::span<const std::uint32_t> mask = {};
};

class Sampler {
 public:
  // Keeps scratch of the vocabulary's size; one per thread.
  SampledToken sample(const SampleInput& input, const SamplingParams& params);

 private:
  void adjust(const SampleInput& input, const SamplingParams& params);
  void penalise(const SampleInput& input, const SamplingParams& params);
  TokenId draw(const SampleInput& input, const SamplingParams& params);
  void keep_top_k(std::int32_t k);
  void keep_top_p(double p, double temperature, float maximum);
  std::uint64_t weigh(double p, double temperature, float maximum);
  void keep_min_p(double p, double temperature, float maximum);

  std::vector<float> scratch_;          // [vocab] logits after bias, penalties, bans, mask; never NaN or +inf
  std::vector<std::uint32_t> marks_;    // [vocab] token counts while penalising; zero between calls
  std::vector<std::int32_t> distinct_;  // the tokens that have a mark
  std::vector<std::uint64_t> candidates_;  // rank and id of those that the masks kept
  std::vector<std::uint64_t> weights_;     // [vocab] probabilities of top_p's candidates
  bool masked_ = false;  // whether candidates_, rather than the whole vocabulary, is drawn from
};

}  // namespace baton
