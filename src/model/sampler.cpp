#include "baton/model/sampler.hpp"

#include <algorithm>
#include <limits>

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

// The lowest id of the largest logit; where all are -inf, the lowest id that is not banned.
TokenId greedy(std::span<const float> logits, std::span<const TokenId> banned) {
  const float maximum = maximum_of(logits);
  if (maximum == kMinusInfinity) {
    for (std::size_t i = 0; i < logits.size(); ++i)
      if (std::find(banned.begin(), banned.end(), static_cast<TokenId>(i)) == banned.end())
        return static_cast<TokenId>(i);
    return 0;
  }
  return static_cast<TokenId>(std::find(logits.begin(), logits.end(), maximum) - logits.begin());
}

// Ranks tokens: larger logit first, lower id first among equals.
struct Before {
  std::span<const float> logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    const float x = sane(logits[static_cast<std::size_t>(a)]);
    const float y = sane(logits[static_cast<std::size_t>(b)]);
    return x != y ? x > y : a < b;
  }
};

// The first `count` ids in rank order: a heap of `count`, so that nearly every token costs one comparison.
void select_best(std::span<const float> logits, std::size_t count, std::vector<std::int32_t>& best) {
  const Before before{logits};
  best.clear();
  if (count == 0) return;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (best.size() < count) {
      best.push_back(id);
      std::push_heap(best.begin(), best.end(), before);
    } else if (sane(logits[i]) > sane(logits[static_cast<std::size_t>(best.front())])) {
      std::pop_heap(best.begin(), best.end(), before);
      best.back() = id;
      std::push_heap(best.begin(), best.end(), before);
    }
  }
  std::sort_heap(best.begin(), best.end(), before);
}

// sum of exp((x - maximum) / temperature), in a fixed order.
double sum_of_exp(std::span<const float> logits, float maximum, double temperature) {
  constexpr std::size_t kLanes = 4;
  double lane[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j)
      lane[j] += exact_exp((double{sane(logits[i + j])} - maximum) / temperature);
  for (; i < logits.size(); ++i) lane[0] += exact_exp((double{sane(logits[i])} - maximum) / temperature);
  return (lane[0] + lane[1]) + (lane[2] + lane[3]);
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
  const double log_sum = none ? 0 : exact_log(sum_of_exp(logits, maximum, 1.0));
  const auto logprob = [&](TokenId token) {
    const float logit = sane(logits[static_cast<std::size_t>(token)]);
    if (none || logit == kMinusInfinity) return kNoLogprob;
    return std::max(static_cast<float>((double{logit} - maximum) - log_sum), kNoLogprob);
  };
  sampled.logprob = logprob(sampled.token);
  std::vector<std::int32_t> best;
  select_best(logits, std::min(count, logits.size()), best);
  sampled.top.reserve(best.size());
  for (const std::int32_t token : best) sampled.top.push_back({token, logprob(token)});
}

bool in_vocabulary(TokenId token, std::size_t vocab) {
  return token >= 0 && static_cast<std::size_t>(token) < vocab;
}

bool has_penalties(const SamplingParams& p) {
  return p.presence_penalty != 0 || p.frequency_penalty != 0 || p.repetition_penalty != 1;
}

}  // namespace

SampledToken Sampler::sample(const SampleInput& input, const SamplingParams& params) {
  SampledToken sampled;
  if (input.logits.empty()) return sampled;
  if (params.temperature > 0) {
    adjust(input, params);
    sampled.token = draw(input, params);
  } else if (!params.logit_bias.empty() || has_penalties(params) || !input.banned.empty()) {
    adjust(input, params);
    sampled.token = greedy(scratch_, input.banned);
  } else {
    sampled.token = greedy(input.logits, {});
  }
  if (params.logprobs >= 0) add_logprobs(input.logits, static_cast<std::size_t>(params.logprobs), sampled);
  return sampled;
}

// scratch_ := the logits after logit_bias, penalties and bans.
void Sampler::adjust(const SampleInput& input, const SamplingParams& params) {
  const std::size_t vocab = input.logits.size();
  scratch_.assign(input.logits.begin(), input.logits.end());
  for (const auto& [token, bias] : params.logit_bias)
    if (in_vocabulary(token, vocab)) scratch_[static_cast<std::size_t>(token)] += bias;
  if (has_penalties(params)) penalise(input, params);
  for (const TokenId token : input.banned)
    if (in_vocabulary(token, vocab)) scratch_[static_cast<std::size_t>(token)] = kMinusInfinity;
  for (float& x : scratch_) x = sane(x);
}

// repetition_penalty as in Hugging Face (over prompt and output, divides positive logits and multiplies
// negative ones), then frequency and presence as in OpenAI (over the output, subtracted).
void Sampler::penalise(const SampleInput& input, const SamplingParams& params) {
  const std::size_t vocab = scratch_.size();
  marks_.resize(vocab, 0);
  order_.clear();  // the distinct tokens
  // A mark is 0 for a token never seen, else 1 + 2 * (occurrences in the output).
  const auto mark = [&](std::span<const TokenId> tokens, std::uint32_t weight) {
    for (const TokenId token : tokens) {
      if (!in_vocabulary(token, vocab)) continue;
      std::uint32_t& m = marks_[static_cast<std::size_t>(token)];
      if (m == 0) {
        m = 1;
        order_.push_back(token);
      }
      m += weight;
    }
  };
  const float repetition = params.repetition_penalty > 0 ? params.repetition_penalty : 1.0F;
  if (repetition != 1) mark(input.prompt, 0);
  mark(input.output, 2);
  for (const std::int32_t token : order_) {
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
  if (maximum == kMinusInfinity) return greedy(scratch_, input.banned);
  const double temperature = params.temperature;
  masked_ = false;
  if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < scratch_.size()) keep_top_k(params.top_k);
  if (params.top_p < 1) keep_top_p(params.top_p, temperature, maximum);
  if (params.min_p > 0) keep_min_p(params.min_p, temperature, maximum);

  const std::uint64_t key = stream_key(params.seed, input.choice, input.output.size());
  GumbelMax winner(scratch_, maximum, temperature, key);
  if (masked_) {
    for (const std::int32_t id : order_) winner.consider(id);
  } else {
    winner.consider(greedy(scratch_, {}));  // a high score to beat, early
    for (std::size_t i = 0; i < scratch_.size(); ++i) winner.consider(static_cast<std::int32_t>(i));
  }
  return winner.token();
}

void Sampler::keep_top_k(std::int32_t k) {
  select_best(scratch_, static_cast<std::size_t>(k), order_);
  masked_ = true;
}

// The fewest most likely candidates whose probabilities, among the candidates, reach p; at least one.
void Sampler::keep_top_p(double p, double temperature, float maximum) {
  const auto weight = [&](std::int32_t id) {
    return exact_exp((double{scratch_[static_cast<std::size_t>(id)]} - maximum) / temperature);
  };
  const auto nucleus = [&](double total) {  // of order_, which is in rank order; 0 if it does not reach p
    double sum = 0;
    for (std::size_t n = 0; n < order_.size(); ++n) {
      sum += weight(order_[n]);
      if (sum >= p * total) return n + 1;
    }
    return std::size_t{0};
  };
  if (masked_) {
    double total = 0;
    for (const std::int32_t id : order_) total += weight(id);
    if (const std::size_t n = nucleus(total)) order_.resize(n);
    return;
  }
  masked_ = true;
  const double total = sum_of_exp(scratch_, maximum, temperature);
  // Most nuclei are small, so the vocabulary is sorted only as far as one reaches.
  for (std::size_t count = 64;; count *= 8) {
    const bool all = count >= scratch_.size();
    select_best(scratch_, std::min(count, scratch_.size()), order_);
    const std::size_t n = nucleus(total);
    if (n != 0) order_.resize(n);
    if (n != 0 || all) return;
  }
}

void Sampler::keep_min_p(double p, double temperature, float maximum) {
  const double floor = exact_log(std::min(p, 1.0));
  const auto likely = [&](std::int32_t id) {
    return (double{scratch_[static_cast<std::size_t>(id)]} - maximum) / temperature >= floor;
  };
  if (masked_) {
    std::erase_if(order_, [&](std::int32_t id) { return !likely(id); });
    return;
  }
  masked_ = true;
  order_.clear();
  for (std::size_t i = 0; i < scratch_.size(); ++i)
    if (likely(static_cast<std::int32_t>(i))) order_.push_back(static_cast<std::int32_t>(i));
}

}  // namespace baton
