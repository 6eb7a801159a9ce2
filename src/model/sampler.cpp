#include "baton/model/sampler.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include "model/exact_math.hpp"

namespace baton {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kMaxFloat = std::numeric_limits<float>::max();
constexpr float kNoLogprob = -9999.0F;
constexpr double kMaxGumbel = 36.75;  // noise() never exceeds -log(-log(1 - 2^-53)) = 36.737

float sane(float x) { return x < kMaxFloat ? x : (x >= kMaxFloat ? kMaxFloat : kMinusInfinity); }

// The largest value; NaN counts as -inf. Lanes, because a compiler may not reorder a float reduction itself.
float maximum_of(std::span<const float> x) {
  constexpr std::size_t kLanes = 16;
  float lane[kLanes];
  std::fill(std::begin(lane), std::end(lane), kMinusInfinity);
  std::size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
  for (; i < x.size(); ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  float maximum = kMinusInfinity;
  for (const float value : lane) maximum = value > maximum ? value : maximum;
  return maximum;
}

bool is_allowed(std::span<const std::uint32_t> mask, std::size_t id) {
  return mask.empty() || (id / 32 < mask.size() && (mask[id / 32] >> (id % 32) & 1U) != 0);
}

// Where every logit is -inf; 0 where nothing may be taken.
TokenId lowest_allowed(const SampleInput& input) {
  for (std::size_t i = 0; i < input.logits.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (is_allowed(input.mask, i) && std::ranges::find(input.banned, id) == input.banned.end()) return id;
  }
  return 0;
}

// The lowest id of the largest logit; none where all are -inf.
std::optional<TokenId> largest(std::span<const float> logits) {
  constexpr std::size_t kBlock = 2048;  // remembered per block, so that only one block is searched for the id
  float maximum = kMinusInfinity;
  std::size_t winner = 0;
  for (std::size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const float here = maximum_of(logits.subspan(begin, std::min(kBlock, logits.size() - begin)));
    if (here > maximum) {
      maximum = here;
      winner = begin;
    }
  }
  if (maximum == kMinusInfinity) return std::nullopt;
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(winner);
  return static_cast<TokenId>(std::find(begin, logits.end(), maximum) - logits.begin());
}

TokenId greedy(std::span<const float> logits, const SampleInput& input) {
  const std::optional<TokenId> best = largest(logits);
  return best ? *best : lowest_allowed(input);
}

void keep_allowed(std::span<const std::uint32_t> mask, std::span<float> logits) {
  for (std::size_t first = 0; first < logits.size(); first += 32) {
    const std::uint32_t allowed = first / 32 < mask.size() ? mask[first / 32] : 0;
    if (allowed == ~std::uint32_t{0}) continue;
    const std::size_t count = std::min<std::size_t>(32, logits.size() - first);
    for (std::size_t i = 0; i < count; ++i)
      if ((allowed >> i & 1U) == 0) logits[first + i] = kMinusInfinity;
  }
}

// A token's rank as one integer: the larger the logit the smaller, then the lower the id the smaller.
std::uint64_t rank_key(float logit, std::size_t id) {
  const auto bits = std::bit_cast<std::uint32_t>(sane(logit) + 0.0F);  // -0 equals +0
  const std::uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000U;
  return std::uint64_t{~ascending} << 32 | id;
}

std::int32_t id_of(std::uint64_t key) { return static_cast<std::int32_t>(key & 0xffffffffU); }

// The first `count` keys, in order: a heap of `count`, so that nearly every token costs one comparison.
void select_best(std::span<const float> logits, std::size_t count, std::vector<std::uint64_t>& best) {
  best.clear();
  if (count == 0) return;
  float worst = kMinusInfinity;  // of the heap, once it is full
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < worst) continue;
    const std::uint64_t key = rank_key(logits[i], i);
    if (best.size() < count) {
      best.push_back(key);
      std::push_heap(best.begin(), best.end());
    } else if (key < best.front()) {
      std::pop_heap(best.begin(), best.end());
      best.back() = key;
      std::push_heap(best.begin(), best.end());
      worst = sane(logits[static_cast<std::size_t>(id_of(best.front()))]);
    }
  }
  std::sort_heap(best.begin(), best.end());
}

// f(first index, exp((x - maximum) / temperature) of a piece), in pieces that the compiler vectorises.
template <class F>
void for_each_exp(std::span<const float> logits, float maximum, double temperature, F f) {
  constexpr std::size_t kPiece = 256;
  double piece[kPiece];
  for (std::size_t begin = 0; begin < logits.size(); begin += kPiece) {
    const std::size_t count = std::min(kPiece, logits.size() - begin);
    for (std::size_t i = 0; i < count; ++i)
      piece[i] = (double{sane(logits[begin + i])} - maximum) / temperature;
    for (std::size_t i = 0; i < count; ++i) piece[i] = exact_exp(piece[i]);
    f(begin, std::span<const double>(piece, count));
  }
}

// SplitMix64 (Steele, Lea and Flood 2014): a counter through a mixer; passes BigCrush.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

// One noise stream per (seed, choice, output index); a token's id is the position in it.
std::uint64_t stream_key(std::uint64_t seed, std::uint32_t choice, std::uint64_t index) {
  const std::uint64_t a = mix(seed + kGolden);
  const std::uint64_t b = mix(a ^ (std::uint64_t{choice} + kGolden));
  return mix(b + mix(index + 0x632be59bd9b4e019ULL));
}

// Uniform in (0, 1): 52 bits and a half, so that neither end is ever reached.
double uniform(std::uint64_t key, std::int32_t token) {
  const std::uint64_t bits = mix(key + kGolden * (static_cast<std::uint64_t>(token) + 1));
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
}

double gumbel(double u) { return -exact_log(-exact_log(u)); }

// argmax of (logit - maximum) / temperature + noise: a sample of the softmax (Gumbel 1954).
class GumbelMax {
 public:
  GumbelMax(std::span<const float> logits, float maximum, double temperature, std::uint64_t key)
      : logits_(logits), maximum_(maximum), temperature_(temperature), key_(key) {}

  void consider(std::int32_t id) {
    const float logit = logits_[static_cast<std::size_t>(id)];
    if (logit == kMinusInfinity) return;
    const double scaled = (double{logit} - maximum_) / temperature_;
    if (scaled + kMaxGumbel < best_) return;  // no noise could lift it
    const double u = uniform(key_, id);
    // To win, noise >= best - scaled >= best, so 1 - u <= -log(u) <= exp(-best): two logarithms saved for
    // nearly every token. reach_ is rounded up, so the result is as without this line.
    if (1 - u > reach_) return;
    const double score = scaled + gumbel(u);
    if (score < best_ || (score == best_ && id > token_)) return;
    best_ = score;
    token_ = id;
    reach_ = best_ < -600 ? 1.0 : exact_exp(-best_) * 1.000001;
  }

  TokenId token() const { return token_; }

 private:
  std::span<const float> logits_;
  double maximum_;
  double temperature_;
  std::uint64_t key_;
  double best_ = -std::numeric_limits<double>::infinity();
  double reach_ = 1.0;
  TokenId token_ = 0;
};

void add_logprobs(std::span<const float> logits, std::size_t count, SampledToken& sampled) {
  const float maximum = sane(maximum_of(logits));
  const bool none = maximum == kMinusInfinity;
  double sum = 0;
  if (!none)
    for_each_exp(logits, maximum, 1.0, [&](std::size_t, std::span<const double> piece) {
      for (const double value : piece) sum += value;
    });
  const double log_sum = none ? 0 : exact_log(sum);
  const auto logprob = [&](TokenId token) {
    const float logit = sane(logits[static_cast<std::size_t>(token)]);
    if (none || logit == kMinusInfinity) return kNoLogprob;
    return std::max(static_cast<float>((double{logit} - maximum) - log_sum), kNoLogprob);
  };
  sampled.logprob = logprob(sampled.token);
  std::vector<std::uint64_t> best;
  select_best(logits, std::min(count, logits.size()), best);
  sampled.top.reserve(best.size());
  for (const std::uint64_t key : best) sampled.top.push_back({id_of(key), logprob(id_of(key))});
}

bool in_vocabulary(TokenId token, std::size_t vocab) {
  return token >= 0 && static_cast<std::size_t>(token) < vocab;
}

}  // namespace

SampledToken Sampler::sample(const SampleInput& input, const SamplingParams& params) {
  SampledToken sampled;
  if (input.logits.empty()) return sampled;
  if (params.temperature > 0) {
    adjust(input, params);
    sampled.token = draw(input, params);
  } else if (!params.logit_bias.empty() || params.has_penalties() || !input.banned.empty() ||
             !input.mask.empty()) {
    adjust(input, params);
    sampled.token = greedy(scratch_, input);
  } else {
    sampled.token = greedy(input.logits, input);
  }
  if (params.logprobs >= 0) add_logprobs(input.logits, static_cast<std::size_t>(params.logprobs), sampled);
  return sampled;
}

// scratch_ := the logits after logit_bias, penalties, bans and mask.
void Sampler::adjust(const SampleInput& input, const SamplingParams& params) {
  const std::size_t vocab = input.logits.size();
  scratch_.assign(input.logits.begin(), input.logits.end());
  for (const auto& [token, bias] : params.logit_bias)
    if (in_vocabulary(token, vocab)) scratch_[static_cast<std::size_t>(token)] += bias;
  if (params.has_penalties()) penalise(input, params);
  for (const TokenId token : input.banned)
    if (in_vocabulary(token, vocab)) scratch_[static_cast<std::size_t>(token)] = kMinusInfinity;
  for (float& x : scratch_) x = sane(x);
  if (!input.mask.empty()) keep_allowed(input.mask, scratch_);
}

// repetition_penalty as in Hugging Face (over prompt and output, divides positive logits and multiplies
// negative ones), then frequency and presence as in OpenAI (over the output, subtracted).
void Sampler::penalise(const SampleInput& input, const SamplingParams& params) {
  const std::size_t vocab = scratch_.size();
  marks_.resize(vocab, 0);
  distinct_.clear();
  // A mark is 0 for a token never seen, else 1 + 2 * (occurrences in the output).
  const auto mark = [&](std::span<const TokenId> tokens, std::uint32_t weight) {
    for (const TokenId token : tokens) {
      if (!in_vocabulary(token, vocab)) continue;
      std::uint32_t& m = marks_[static_cast<std::size_t>(token)];
      if (m == 0) {
        m = 1;
        distinct_.push_back(token);
      }
      m += weight;
    }
  };
  const float repetition = params.repetition_penalty > 0 ? params.repetition_penalty : 1.0F;
  if (repetition != 1) mark(input.prompt, 0);
  mark(input.output, 2);
  for (const std::int32_t token : distinct_) {
    const auto i = static_cast<std::size_t>(token);
    float& x = scratch_[i];
    x = x > 0 ? x / repetition : x * repetition;
    const auto count = static_cast<float>(marks_[i] / 2);
    x -= params.frequency_penalty * count;
    if (count > 0) x -= params.presence_penalty;
    marks_[i] = 0;
  }
}

TokenId Sampler::draw(const SampleInput& input, const SamplingParams& params) {
  const float maximum = maximum_of(scratch_);
  if (maximum == kMinusInfinity) return lowest_allowed(input);
  const double temperature = params.temperature;
  masked_ = false;
  if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < scratch_.size()) keep_top_k(params.top_k);
  if (params.top_p < 1) keep_top_p(params.top_p, temperature, maximum);
  if (params.min_p > 0) keep_min_p(params.min_p, temperature, maximum);

  const std::uint64_t key = stream_key(params.seed, input.choice, input.output.size());
  GumbelMax winner(scratch_, maximum, temperature, key);
  if (masked_) {
    for (const std::uint64_t candidate : candidates_) winner.consider(id_of(candidate));
  } else {
    winner.consider(greedy(scratch_, input));  // a high score to beat, early
    for (std::size_t i = 0; i < scratch_.size(); ++i) winner.consider(static_cast<std::int32_t>(i));
  }
  return winner.token();
}

void Sampler::keep_top_k(std::int32_t k) {
  select_best(scratch_, static_cast<std::size_t>(k), candidates_);
  masked_ = true;
}

// The fewest most likely candidates whose probabilities, among the candidates, reach p; at least one.
// Probabilities are integers (in units of 2^-40 of the most likely token), so that sums are exact in any
// order and the nucleus is found by halving, without sorting the vocabulary.
void Sampler::keep_top_p(double p, double temperature, float maximum) {
  std::uint64_t need = weigh(p, temperature, maximum);
  const auto at = [&](std::size_t i) { return candidates_.begin() + static_cast<std::ptrdiff_t>(i); };
  std::size_t begin = 0;  // candidates before it are in the nucleus, those from `end` on are not
  std::size_t end = candidates_.size();
  while (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end));
    std::uint64_t left = 0;
    for (std::size_t i = begin; i < middle; ++i)
      left += weights_[static_cast<std::size_t>(id_of(candidates_[i]))];
    if (left >= need) {
      end = middle;
    } else {
      need -= left;
      begin = middle;
    }
  }
  candidates_.resize(end);
}

// Fills weights_ and returns what the nucleus must weigh. Where nothing was masked yet, candidates_ become
// the tokens that the nucleus can reach: with weights grouped by powers of two, the groups from the heaviest
// down to the one in which the sum passes what is needed.
std::uint64_t Sampler::weigh(double p, double temperature, float maximum) {
  constexpr double kUnit = 0x1p40;
  const auto integer = [](double probability) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(probability * kUnit));
  };
  const auto share = [p](std::uint64_t total) {
    return static_cast<std::uint64_t>(std::max(p, 0.0) * static_cast<double>(total));
  };
  weights_.resize(scratch_.size());
  std::uint64_t total = 0;
  if (masked_) {
    for (const std::uint64_t key : candidates_) {
      const auto i = static_cast<std::size_t>(id_of(key));
      weights_[i] = integer(exact_exp((double{scratch_[i]} - maximum) / temperature));
      total += weights_[i];
    }
    return share(total);
  }
  std::uint64_t groups[42] = {};  // by std::bit_width of the weight
  for_each_exp(scratch_, maximum, temperature, [&](std::size_t first, std::span<const double> piece) {
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const std::uint64_t weight = integer(piece[i]);
      weights_[first + i] = weight;
      groups[std::bit_width(weight)] += weight;
      total += weight;
    }
  });
  const std::uint64_t need = share(total);
  int group = 41;
  for (std::uint64_t sum = groups[group]; sum < need && group > 1;) sum += groups[--group];
  const std::uint64_t lightest = std::uint64_t{1} << (group - 1);
  masked_ = true;
  candidates_.clear();
  for (std::size_t i = 0; i < scratch_.size(); ++i)
    if (weights_[i] >= lightest) candidates_.push_back(rank_key(scratch_[i], i));
  return need;
}

void Sampler::keep_min_p(double p, double temperature, float maximum) {
  const double floor = exact_log(std::min(p, 1.0));
  const auto likely = [&](std::size_t i) { return (double{scratch_[i]} - maximum) / temperature >= floor; };
  if (masked_) {
    std::erase_if(candidates_,
                  [&](std::uint64_t key) { return !likely(static_cast<std::size_t>(id_of(key))); });
    return;
  }
  masked_ = true;
  candidates_.clear();
  for (std::size_t i = 0; i < scratch_.size(); ++i)
    if (likely(i)) candidates_.push_back(rank_key(scratch_[i], i));
}

}  // namespace baton
