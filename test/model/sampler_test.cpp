// The sampler: greedy and its ties, penalties against hand-computed values, masks, the distribution of what
// is drawn (chi-square with fixed seeds, so that a pass is a pass for ever), determinism, log-probabilities.
#include "baton/model/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "model/exact_math.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

SamplingParams greedy_params() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TokenId pick(const std::vector<float>& logits, const SamplingParams& params, std::vector<TokenId> prompt = {},
             std::vector<TokenId> output = {}, std::vector<TokenId> banned = {}) {
  Sampler sampler;
  return sampler.sample({logits, prompt, output, 0, banned}, params).token;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  for (const float x : logits) p.push_back(std::exp(x / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

// Counts of `draws` samples at output indices 0, 1, ...
std::vector<int> draw_many(const std::vector<float>& logits, SamplingParams params, int draws) {
  Sampler sampler;
  std::vector<int> counts(logits.size(), 0);
  const std::vector<TokenId> output(static_cast<std::size_t>(draws), 0);
  for (int i = 0; i < draws; ++i) {
    SampleInput input{logits, {}, std::span(output).first(static_cast<std::size_t>(i)), 0, {}};
    ++counts[static_cast<std::size_t>(sampler.sample(input, params).token)];
  }
  return counts;
}

double chi_square(const std::vector<int>& counts, const std::vector<double>& probability) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = probability[i] * draws;
    if (expected == 0) {
      if (counts[i] != 0) return kInf;
      continue;
    }
    sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

const std::vector<float> kLogits = {1.0F, 0.2F, -0.7F, 2.0F, 0.9F, -1.5F, 0.0F, 1.7F};
constexpr double kChi7 = 30;  // df 7: exceeded by chance once in 10,000

std::vector<float> random_logits(std::size_t size, unsigned seed, float spread) {
  std::mt19937 engine(seed);
  std::vector<float> logits(size);
  for (float& x : logits) x = spread * (static_cast<float>(engine() >> 8) * 0x1p-24F - 0.5F);
  return logits;
}

}  // namespace

TEST_CASE("greedy takes the largest, the lowest id of equals") {
  CHECK(pick({1, 3, 2}, greedy_params()) == 1);
  CHECK(pick({1, 3, 3, 3}, greedy_params()) == 1);
  CHECK(pick({0.0F, -0.0F}, greedy_params()) == 0);
  CHECK(pick({-0.0F, 0.0F}, greedy_params()) == 0);
  std::vector<float> many(1000, -5.0F);
  many[777] = many[888] = 4.0F;
  CHECK(pick(many, greedy_params()) == 777);
}

TEST_CASE("logits that are no numbers") {
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    params.logprobs = 2;
    CHECK(pick({kNaN, -3, kNaN}, params) == 1);
    CHECK(pick({-3, kInf, 5}, params) == 1);
    CHECK(pick({-kInf, -kInf, -1e30F}, params) == 2);
    CHECK(pick({kNaN, -kInf, kNaN}, params) == 0);
    CHECK(pick({kNaN, -kInf, kNaN}, params, {}, {}, {0}) == 1);
    CHECK(pick({1, 2}, params, {}, {}, {0, 1}) == 0);
    CHECK(pick({}, params) == 0);
    params.top_k = 2;
    params.top_p = 0.5F;
    params.min_p = 0.5F;
    CHECK(pick({kNaN, -3, kNaN}, params) == 1);
  }
  Sampler sampler;
  SamplingParams params = greedy_params();
  params.logprobs = 3;
  const std::vector<float> logits = {-kInf, 1.0F, kNaN};
  const auto sampled = sampler.sample({logits, {}, {}, 0, {}}, params);
  REQUIRE(sampled.top.size() == 3);
  CHECK(sampled.top[0].token == 1);
  CHECK(sampled.top[0].logprob == Approx(0.0F).margin(1e-6));
  CHECK(sampled.top[1].logprob == -9999.0F);
}

TEST_CASE("penalties, bias and bans, by hand") {
  SamplingParams params = greedy_params();
  SECTION("repetition divides positive logits, prompt and output alike, once per token") {
    params.repetition_penalty = 2;
    CHECK(pick({2.0F, 1.1F, 0.0F}, params) == 0);
    CHECK(pick({2.0F, 1.1F, 0.0F}, params, {0, 0, 0}) == 1);  // 1.0 < 1.1
    CHECK(pick({2.0F, 0.9F, 0.0F}, params, {0, 0, 0}) == 0);  // 1.0 > 0.9: not 0.25
    CHECK(pick({2.0F, 1.1F, 0.0F}, params, {}, {0}) == 1);
    CHECK(pick({2.0F, 0.9F, 0.0F}, params, {0}, {0}) == 0);
  }
  SECTION("repetition multiplies negative logits") {
    params.repetition_penalty = 2;
    CHECK(pick({-1.0F, -1.9F}, params, {0}) == 1);
    CHECK(pick({-1.0F, -2.1F}, params, {0}) == 0);
  }
  SECTION("frequency counts the output only") {
    params.frequency_penalty = 0.5F;
    CHECK(pick({2.0F, 1.1F}, params, {0, 0, 0, 0}) == 0);
    CHECK(pick({2.0F, 1.1F}, params, {}, {0}) == 0);     // 1.5
    CHECK(pick({2.0F, 1.1F}, params, {}, {0, 0}) == 1);  // 1.0
  }
  SECTION("presence counts once") {
    params.presence_penalty = 0.5F;
    CHECK(pick({2.0F, 1.4F}, params, {0}) == 0);
    CHECK(pick({2.0F, 1.4F}, params, {}, {0, 0, 0, 0}) == 0);  // 1.5
    CHECK(pick({2.0F, 1.6F}, params, {}, {0}) == 1);
  }
  SECTION("negative penalties encourage") {
    params.presence_penalty = -1.0F;
    CHECK(pick({2.0F, 1.4F}, params, {}, {1}) == 1);
  }
  SECTION("bias comes before the repetition penalty") {
    params.repetition_penalty = 2;
    params.logit_bias = {{0, 2.0F}};
    CHECK(pick({2.0F, 2.5F}, params, {0}) == 1);  // (2 + 2) / 2 = 2; the other order gives 3
    CHECK(pick({2.0F, 1.9F}, params, {0}) == 0);
  }
  SECTION("bans hold against any bias; ids outside the vocabulary do nothing") {
    params.logit_bias = {{0, 100.0F}, {99, 5.0F}, {-1, 5.0F}};
    params.frequency_penalty = 1;
    CHECK(pick({2.0F, 1.0F, 1.5F}, params, {}, {99, -4}) == 0);
    CHECK(pick({2.0F, 1.0F, 1.5F}, params, {}, {}, {0, 99, -7}) == 2);
  }
  SECTION("counts do not leak into the next call") {
    params.frequency_penalty = 0.6F;
    Sampler sampler;
    const std::vector<float> logits = {2.0F, 1.0F};
    const std::vector<TokenId> output = {0, 0};
    CHECK(sampler.sample({logits, {}, output, 0, {}}, params).token == 1);
    CHECK(sampler.sample({logits, {}, {}, 0, {}}, params).token == 0);
  }
}

TEST_CASE("drawn tokens follow the softmax") {
  SamplingParams params;
  for (const float temperature : {0.5F, 1.0F, 2.0F}) {
    params.temperature = temperature;
    params.seed = static_cast<std::uint64_t>(temperature * 100);
    CHECK(chi_square(draw_many(kLogits, params, 20'000), softmax(kLogits, temperature)) < kChi7);
  }
}

TEST_CASE("seeds, choices and indices are independent streams") {
  Sampler sampler;
  SamplingParams params;
  const auto expected = softmax(kLogits, 1.0);
  std::vector<int> by_seed(8, 0);
  std::vector<int> by_choice(8, 0);
  std::vector<int> pairs(64, 0);
  const std::vector<TokenId> one = {0};
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    params.seed = i;
    const TokenId a = sampler.sample({kLogits, {}, {}, 0, {}}, params).token;
    const TokenId b = sampler.sample({kLogits, {}, one, 0, {}}, params).token;
    ++by_seed[static_cast<std::size_t>(a)];
    ++pairs[static_cast<std::size_t>(a * 8 + b)];
    params.seed = 5;
    ++by_choice[static_cast<std::size_t>(sampler.sample({kLogits, {}, {}, i, {}}, params).token)];
  }
  CHECK(chi_square(by_seed, expected) < kChi7);
  CHECK(chi_square(by_choice, expected) < kChi7);
  std::vector<double> joint;
  for (const double p : expected)
    for (const double q : expected) joint.push_back(p * q);
  CHECK(chi_square(pairs, joint) < 110);  // df 63: exceeded by chance about twice in 10,000
}

TEST_CASE("top_k keeps the k most likely, lower ids among equals") {
  SamplingParams params;
  params.top_k = 3;
  auto expected = softmax(kLogits, 1.0);
  for (const std::size_t masked : {1, 2, 4, 5, 6}) expected[masked] = 0;  // kept: 3 (2.0), 7 (1.7), 0 (1.0)
  const double kept = std::accumulate(expected.begin(), expected.end(), 0.0);
  for (double& p : expected) p /= kept;
  CHECK(chi_square(draw_many(kLogits, params, 20'000), expected) < 20);  // df 2
  params.top_k = 2;
  const auto counts = draw_many({1, 1, 1, 1}, params, 500);
  CHECK(counts[0] > 0);
  CHECK(counts[1] > 0);
  CHECK(counts[2] + counts[3] == 0);
  params.top_k = 1;
  CHECK(draw_many(kLogits, params, 100)[3] == 100);
}

TEST_CASE("top_p keeps the fewest tokens that reach p") {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.1F), std::log(0.3F), std::log(0.1F)};
  const auto seen = [&](float p, int top_k = 0) {
    SamplingParams params;
    params.top_p = p;
    params.top_k = top_k;
    std::string tokens;
    const auto counts = draw_many(logits, params, 2000);
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i]) tokens += static_cast<char>('0' + i);
    return tokens;
  };
  CHECK(seen(0.0F) == "0");
  CHECK(seen(0.45F) == "0");
  CHECK(seen(0.55F) == "02");
  CHECK(seen(0.85F) == "012");
  CHECK(seen(0.95F) == "0123");
  CHECK(seen(1.0F) == "0123");
  // Among the two that top_k leaves, token 0 has 0.625: top_p applies to what top_k kept.
  CHECK(seen(0.6F, 2) == "0");
  CHECK(seen(0.7F, 2) == "02");
}

TEST_CASE("top_p over a flat vocabulary reaches far beyond the first sorted piece") {
  const std::vector<float> logits(5000, 0.25F);
  SamplingParams params;
  params.top_p = 0.5F;
  const auto counts = draw_many(logits, params, 3000);
  for (std::size_t i = 2500; i < counts.size(); ++i) CHECK(counts[i] == 0);
  CHECK(std::accumulate(counts.begin() + 1500, counts.begin() + 2500, 0) > 900);
}

TEST_CASE("min_p is relative to the most likely, at the given temperature") {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.1F), std::log(0.3F), std::log(0.1F)};
  SamplingParams params;
  params.min_p = 0.5F;
  auto counts = draw_many(logits, params, 2000);
  CHECK(counts[0] > 0);
  CHECK(counts[2] > 0);
  CHECK(counts[1] + counts[3] == 0);
  params.temperature = 0.5F;  // probabilities squared: 0.36 of the most likely
  counts = draw_many(logits, params, 2000);
  CHECK(counts[0] == 2000);
}

TEST_CASE("masks only mask: what is drawn without one is drawn with one that keeps it") {
  // The masked paths visit the candidates in other orders, so this also compares GumbelMax's shortcuts.
  Sampler sampler;
  for (const float spread : {0.01F, 4.0F, 40.0F}) {
    const auto logits = random_logits(3000, 7, spread);
    const auto least = std::min_element(logits.begin(), logits.end()) - logits.begin();
    int compared = 0;
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      SamplingParams params;
      params.seed = seed;
      const TokenId plain = sampler.sample({logits, {}, {}, 0, {}}, params).token;
      params.top_k = 2999;
      const TokenId top_k = sampler.sample({logits, {}, {}, 0, {}}, params).token;
      params.top_k = 0;
      params.min_p = 1e-30F;
      CHECK(sampler.sample({logits, {}, {}, 0, {}}, params).token == plain);
      if (plain == least) continue;
      CHECK(top_k == plain);
      ++compared;
    }
    CHECK(compared > 140);
  }
}

// A mask of `words` words that allows these.
std::vector<std::uint32_t> allow(std::initializer_list<TokenId> tokens, std::size_t words) {
  std::vector<std::uint32_t> mask(words, 0);
  for (const TokenId token : tokens)
    mask[static_cast<std::size_t>(token / 32)] |= std::uint32_t{1} << (token % 32);
  return mask;
}

TEST_CASE("only what the mask allows is taken, in any way of sampling") {
  const auto logits = random_logits(77, 21, 8.0F);  // no multiple of 32
  const auto mask = allow({3, 31, 32, 40, 64, 76}, 3);
  std::vector<TokenId> banned;  // the same, said the other way
  for (TokenId id = 0; id < 77; ++id)
    if ((mask[static_cast<std::size_t>(id / 32)] >> (id % 32) & 1U) == 0) banned.push_back(id);
  Sampler sampler;
  SamplingParams plain, greedy = greedy_params(), top_k, top_p, min_p, biased;
  top_k.top_k = 3;
  top_p.top_p = 0.7F;
  min_p.min_p = 0.2F;
  biased.logit_bias = {{5, 100.0F}, {40, 2.0F}};
  biased.repetition_penalty = 1.5F;
  const std::vector<TokenId> output(40, 40);
  for (SamplingParams params : {plain, greedy, top_k, top_p, min_p, biased}) {
    params.logprobs = 3;
    for (std::size_t i = 0; i < output.size(); ++i) {
      const auto so_far = std::span(output).first(i);
      const SampledToken masked = sampler.sample({logits, {}, so_far, 0, {}, mask}, params);
      const SampledToken by_bans = sampler.sample({logits, {}, so_far, 0, banned}, params);
      CHECK(masked.token == by_bans.token);
      CHECK(std::ranges::find(banned, masked.token) == banned.end());
      CHECK(masked.logprob == by_bans.logprob);  // of the model, which knows no mask
      for (std::size_t t = 0; t < 3; ++t) CHECK(masked.top[t].token == by_bans.top[t].token);
    }
  }
}

TEST_CASE("masks and bans add up, and ids beyond the words are not allowed") {
  Sampler sampler;
  const std::vector<float> rising = {1, 2, 3, 4};
  const std::vector<float> nothing(40, -kInf);
  std::vector<float> high(40, 0.0F);
  high[39] = 9;
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    const auto pick_of = [&](const std::vector<float>& logits, const std::vector<std::uint32_t>& mask,
                             const std::vector<TokenId>& banned) {
      return sampler.sample({logits, {}, {}, 0, banned, mask}, params).token;
    };
    CHECK(pick_of(rising, allow({1, 2}, 1), {2}) == 1);
    CHECK(pick_of(rising, allow({2}, 1), {}) == 2);
    CHECK(pick_of({kNaN, 1, -5, kInf}, allow({0, 2}, 1), {}) == 2);
    // Where all are -inf: the lowest that is allowed and not banned.
    CHECK(pick_of(nothing, allow({5, 33, 34}, 2), {5}) == 33);
    CHECK(pick_of(nothing, allow({5, 6}, 1), {5}) == 6);
    CHECK(pick_of(rising, allow({2}, 1), {2}) == 0);
    CHECK(pick_of(high, allow({7}, 1), {}) == 7);
    const std::uint32_t words[] = {0, ~std::uint32_t{0}};  // the second one is no part of the mask
    CHECK(sampler.sample({nothing, {}, {}, 0, {}, std::span(words).first(1)}, params).token == 0);
    CHECK(pick_of(high, std::vector<std::uint32_t>(2, ~std::uint32_t{0}), {}) ==
          (temperature > 0 ? pick_of(high, {}, {}) : 39));
  }
}

TEST_CASE("equal input gives equal tokens, today and on every machine") {
  const auto logits = random_logits(1000, 3, 6.0F);
  SamplingParams params;
  params.seed = 42;
  params.top_p = 0.95F;
  Sampler one;
  Sampler other;
  std::vector<TokenId> tokens;
  for (int i = 0; i < 12; ++i) {
    const TokenId token = one.sample({logits, {}, tokens, 1, {}}, params).token;
    CHECK(other.sample({logits, {}, tokens, 1, {}}, params).token == token);
    tokens.push_back(token);
  }
  CHECK(tokens == std::vector<TokenId>{190, 121, 864, 748, 561, 886, 542, 766, 935, 498, 230, 366});
}

TEST_CASE("log-probabilities are the model's, before temperature and penalties") {
  Sampler sampler;
  const auto logits = random_logits(500, 11, 10.0F);
  SamplingParams params;
  params.temperature = 0.3F;
  params.logit_bias = {{4, 50.0F}};
  params.logprobs = 5;
  const auto sampled = sampler.sample({logits, {}, {}, 0, {}}, params);
  CHECK(sampled.token == 4);
  const auto p = softmax(logits, 1.0);
  CHECK(sampled.logprob == Approx(std::log(p[4])).epsilon(1e-5));
  REQUIRE(sampled.top.size() == 5);
  std::vector<std::int32_t> order(500);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(sampled.top[i].token == order[i]);
    CHECK(sampled.top[i].logprob == Approx(std::log(p[static_cast<std::size_t>(order[i])])).epsilon(1e-5));
  }
  params.logprobs = 0;
  CHECK(sampler.sample({logits, {}, {}, 0, {}}, params).top.empty());
  CHECK(sampler.sample({logits, {}, {}, 0, {}}, params).logprob < 0);
  params.logprobs = 1000;
  CHECK(sampler.sample({logits, {}, {}, 0, {}}, params).top.size() == 500);
}

TEST_CASE("our logarithm and exponential agree with libm") {
  std::mt19937_64 engine(1);
  double worst_log = 0;
  double worst_exp = 0;
  for (int i = 0; i < 200'000; ++i) {
    const double u = (static_cast<double>(engine() >> 12) + 0.5) * 0x1p-52;
    const double log_u = std::log(u);
    worst_log = std::max(worst_log, std::abs(exact_log(u) - log_u) / std::abs(log_u));
    const double wide = exact_log(u * 1e20);
    worst_log = std::max(worst_log, std::abs(wide - std::log(u * 1e20)) / std::max(1.0, std::abs(wide)));
    const double x = -700 * u;
    worst_exp = std::max(worst_exp, std::abs(exact_exp(x) / std::exp(x) - 1));
  }
  CHECK(worst_log < 1e-15);
  CHECK(worst_exp < 1e-15);
  CHECK(exact_exp(0.0) == 1.0);
  CHECK(exact_exp(-701.0) == 0.0);
  CHECK(exact_exp(-std::numeric_limits<double>::infinity()) == 0.0);
  CHECK(exact_log(1.0) == 0.0);
}

}  // namespace baton
