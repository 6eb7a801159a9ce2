// Sampling on the device against the CPU's Sampler: the same tokens for random logits and parameters, on both
// paths of the selection (bins that fit into shared memory, and ties of thousands of tokens that do not).
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "baton/model/sampler.hpp"
#include "device_array.hpp"
#include "kernels/cuda/sample.hpp"

namespace baton::gpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One row's input, as the CPU takes it.
struct Case {
  std::vector<float> logits;
  std::vector<TokenId> prompt, output, banned;
  SamplingParams params;
  std::uint32_t choice = 0;
  std::vector<bool> allowed;  // empty: no mask
};

class SampleTest {
 public:
  bool run() {
    for (const std::int32_t vocab : {1, 2, 5, 33, 1000, 1024, 4099, 32003}) {
      for (int batch = 0; batch < 12; ++batch)
        check_batch(make_batch(1 + random(40), vocab), vocab, all_stages());
      check_batch(make_batch(1, vocab), vocab, all_stages());
    }
    for (const std::int32_t rows : {1, 64, 200}) check_batch(make_batch(rows, 128256), 128256, all_stages());
    for (const std::int32_t vocab : {5, 4099, 128256}) {
      std::vector<Case> cases = make_batch(17, vocab);
      for (Case& c : cases) {
        c.params.temperature = 0;
        c.params.logprobs = -1;
      }
      check_batch(cases, vocab, {false, false, false});
    }
    return expectations_.report();
  }

 private:
  static cuda::SampleStages all_stages() { return {true, true, true}; }

  std::int32_t random(std::int32_t below) {
    return static_cast<std::int32_t>(engine_() % static_cast<std::uint64_t>(below));
  }
  template <class T>
  T pick(std::initializer_list<T> from) {
    return from.begin()[random(static_cast<std::int32_t>(from.size()))];
  }
  bool one_in(std::int32_t count) { return random(count) == 0; }
  TokenId token(std::int32_t vocab) { return one_in(20) ? pick({-1, vocab, vocab + 7}) : random(vocab); }
  std::vector<TokenId> tokens(std::int32_t vocab, std::int32_t most) {
    std::vector<TokenId> made(static_cast<std::size_t>(random(most + 1)));
    for (TokenId& t : made) t = token(vocab);
    return made;
  }

  std::vector<float> make_logits(std::int32_t vocab) {
    std::vector<float> logits(static_cast<std::size_t>(vocab));
    std::normal_distribution<float> normal(pick({0.0F, -7.0F, 20.0F}),
                                           pick({1e-3F, 0.3F, 1.0F, 3.0F, 10.0F, 300.0F}));
    const float step = pick({0.0F, 0.0F, 0.0F, 0.125F, 4.0F});  // coarse values make ties
    for (float& x : logits) {
      x = normal(engine_);
      if (step > 0) x = std::round(x / step) * step;
    }
    if (one_in(12))
      std::fill(logits.begin(), logits.end(), pick({0.0F, -0.0F, 3.5F, -kInfinity, std::nanf("")}));
    if (one_in(4))
      for (const float special :
           {kInfinity, -kInfinity, std::nanf(""), 3.4028235e38F, -3.4028235e38F, 0.0F, -0.0F})
        if (one_in(2)) logits[static_cast<std::size_t>(random(vocab))] = special;
    if (one_in(3)) logits[static_cast<std::size_t>(random(vocab))] += 12.0F;  // one likely token
    if (one_in(10))
      for (float& x : logits)
        if (!one_in(50)) x = -kInfinity;
    return logits;
  }

  Case make_case(std::int32_t vocab) {
    Case c;
    c.logits = make_logits(vocab);
    SamplingParams& p = c.params;
    p.temperature = pick({0.0F, 0.0F, 0.1F, 0.6F, 1.0F, 1.0F, 1.7F, 40.0F, 1e-6F, -1.0F});
    p.top_k = pick({0, 0, 0, 1, 2, 40, 1000, 5000, vocab - 1, vocab, vocab + 3});
    p.top_p = pick({1.0F, 1.0F, 0.95F, 0.5F, 0.999F, 0.9999999F, 1e-6F, 0.0F, -1.0F});
    p.min_p = pick({0.0F, 0.0F, 0.0F, 0.05F, 0.5F, 1.0F, 2.0F, 1e-30F});
    p.seed = engine_();
    c.choice = static_cast<std::uint32_t>(random(3));
    c.prompt = tokens(vocab, 60);
    c.output = tokens(vocab, 60);
    if (one_in(3)) p.presence_penalty = pick({0.5F, -0.7F, 2.0F});
    if (one_in(3)) p.frequency_penalty = pick({0.3F, -0.2F, 2.0F});
    if (one_in(3)) p.repetition_penalty = pick({1.3F, 0.8F, 0.0F, 10.0F});
    if (one_in(3))
      for (const TokenId t : tokens(vocab, 30))
        p.logit_bias.emplace_back(t, pick({1.5F, -100.0F, 0.1F, 100.0F}));
    if (one_in(3)) c.banned = tokens(vocab, 20);
    if (one_in(30))
      for (TokenId t = 0; t < std::min(vocab, 3000); ++t) c.banned.push_back(t);
    if (one_in(3)) p.logprobs = pick({0, 1, 5, 20, 64});
    if (one_in(8)) {
      c.allowed.resize(static_cast<std::size_t>(vocab));
      const std::int32_t rarity = pick({2, 100, 5000, vocab});
      for (std::size_t t = 0; t < c.allowed.size(); ++t) c.allowed[t] = rarity < vocab && one_in(rarity);
      if (rarity >= vocab) c.allowed[static_cast<std::size_t>(random(vocab))] = true;  // only one
    }
    return c;
  }

  std::vector<Case> make_batch(std::int32_t rows, std::int32_t vocab) {
    std::vector<Case> cases;
    for (std::int32_t r = 0; r < rows; ++r) cases.push_back(make_case(vocab));
    return cases;
  }

  static std::vector<std::uint32_t> words_of(const Case& c) {
    std::vector<std::uint32_t> words((c.allowed.size() + 31) / 32, 0);
    for (std::size_t t = 0; t < c.allowed.size(); ++t)
      if (c.allowed[t]) words[t / 32] |= 1U << (t % 32);
    return words;
  }

  SampledToken sample_on_cpu(const Case& c) {
    const std::vector<std::uint32_t> mask = words_of(c);
    return sampler_.sample({c.logits, c.prompt, c.output, c.choice, c.banned, mask}, c.params);
  }

  // The device's lists of all rows.
  struct Lists {
    std::vector<cuda::SampleRow> rows;
    std::vector<cuda::TokenBias> bias;
    std::vector<cuda::TokenCount> counts;
    std::vector<cuda::BannedToken> banned;
    std::vector<std::uint32_t> masks;
  };

  template <class T>
  static cuda::EntryRange from(std::size_t first, const std::vector<T>& list) {
    return {static_cast<std::int32_t>(first), static_cast<std::int32_t>(list.size() - first)};
  }

  static void append(const Case& c, std::size_t mask_words, Lists& lists) {
    const SamplingParams& p = c.params;
    cuda::SampleRow row;
    row.temperature = p.temperature;
    row.top_p = p.top_p;
    row.min_p = p.min_p;
    row.top_k = p.top_k;
    row.presence_penalty = p.presence_penalty;
    row.frequency_penalty = p.frequency_penalty;
    row.repetition_penalty = p.repetition_penalty;
    row.choice = c.choice;
    row.seed = p.seed;
    row.output_index = c.output.size();
    row.logprobs = p.logprobs;
    auto bias = p.logit_bias;
    std::stable_sort(bias.begin(), bias.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    const std::size_t first_bias = lists.bias.size();
    for (const auto& [t, value] : bias) lists.bias.push_back({t, value});
    row.bias = from(first_bias, lists.bias);
    const std::size_t first_count = lists.counts.size();
    if (p.presence_penalty != 0 || p.frequency_penalty != 0 || p.repetition_penalty != 1) {
      std::map<TokenId, std::int32_t> counts;
      for (const TokenId t : c.prompt) counts[t] += 0;
      for (const TokenId t : c.output) counts[t] += 1;
      for (const auto& [t, count] : counts) lists.counts.push_back({t, count});
    }
    row.counts = from(first_count, lists.counts);
    const std::size_t first_banned = lists.banned.size();
    for (const TokenId t : c.banned) lists.banned.push_back({t});
    row.banned = from(first_banned, lists.banned);
    if (!c.allowed.empty()) {
      row.mask = static_cast<std::int32_t>(lists.masks.size() / mask_words);
      const std::vector<std::uint32_t> words = words_of(c);
      lists.masks.insert(lists.masks.end(), words.begin(), words.end());
    }
    lists.rows.push_back(row);
  }

  void check_batch(const std::vector<Case>& cases, std::int32_t vocab, cuda::SampleStages stages) {
    const auto rows = static_cast<std::int32_t>(cases.size());
    const std::size_t mask_words = static_cast<std::size_t>(vocab + 31) / 32;
    const std::int32_t spare = pick({0, 1, 4});
    Lists lists;
    std::vector<float> logits;
    for (const Case& c : cases) {
      append(c, mask_words, lists);
      logits.insert(logits.end(), c.logits.begin(), c.logits.end());
      logits.insert(logits.end(), static_cast<std::size_t>(spare), 1e30F);
    }
    DeviceArray<float> device_logits(logits);
    const DeviceArray<cuda::SampleRow> device_rows(lists.rows);
    const DeviceArray<cuda::TokenBias> bias(lists.bias);
    const DeviceArray<cuda::TokenCount> counts(lists.counts);
    const DeviceArray<cuda::BannedToken> banned(lists.banned);
    const DeviceArray<std::uint32_t> masks(lists.masks);
    const auto count = static_cast<std::size_t>(rows);
    DeviceArray<std::int32_t> chosen(count), top_tokens(count * cuda::kMaxTopLogprobs);
    DeviceArray<float> logprobs(count), top_logprobs(count * cuda::kMaxTopLogprobs);
    const std::int32_t max_rows = rows + random(3);
    DeviceArray<std::byte> workspace(cuda::sample_workspace_bytes(max_rows, vocab));
    workspace.zero();
    cuda::SampleArgs args;
    args.logits = device_logits.data();
    args.stride = vocab + spare;
    args.rows = rows;
    args.vocab = vocab;
    args.row = device_rows.data();
    args.bias = bias.data();
    args.counts = counts.data();
    args.banned = banned.data();
    args.masks = masks.data();
    args.mask_stride = static_cast<std::int64_t>(mask_words);
    args.tokens = chosen.data();
    args.logprobs = logprobs.data();
    args.top_tokens = top_tokens.data();
    args.top_logprobs = top_logprobs.data();
    args.workspace = workspace.data();
    args.max_rows = max_rows;
    std::vector<SampledToken> wanted;
    for (const Case& c : cases) wanted.push_back(sample_on_cpu(c));
    for (int repeat = 0; repeat < 2;
         ++repeat) {  // the second launch finds the workspace as the first left it
      device_logits.assign(logits);
      chosen.poison();
      require_done(cuda::sample(args, stages, nullptr), "sample");
      const std::vector<std::int32_t> got = chosen.values(), got_tops = top_tokens.values();
      const std::vector<float> got_logprobs = logprobs.values(), got_top_logprobs = top_logprobs.values();
      for (std::size_t r = 0; r < count; ++r) {
        const SampledToken& want = wanted[r];
        const SamplingParams& p = cases[r].params;
        expectations_.expect(got[r] == want.token,
                             "vocab %d row %zu of %d, launch %d: token %d, not %d (temperature %g top_k %d "
                             "top_p %.9g min_p %g, "
                             "bias %zu counts %d banned %zu mask %d)",
                             vocab, r, rows, repeat, got[r], want.token, static_cast<double>(p.temperature),
                             p.top_k, static_cast<double>(p.top_p), static_cast<double>(p.min_p),
                             p.logit_bias.size(), lists.rows[r].counts.count, cases[r].banned.size(),
                             lists.rows[r].mask);
        if (!stages.logprobs || p.logprobs < 0) continue;
        if (got[r] == want.token)
          expectations_.expect(is_near(got_logprobs[r], want.logprob), "vocab %d row %zu: logprob %g, not %g",
                               vocab, r, static_cast<double>(got_logprobs[r]),
                               static_cast<double>(want.logprob));
        for (std::size_t i = 0; i < want.top.size(); ++i) {
          const std::size_t at = r * cuda::kMaxTopLogprobs + i;
          expectations_.expect(
              got_tops[at] == want.top[i].token && is_near(got_top_logprobs[at], want.top[i].logprob),
              "vocab %d row %zu: likely token %zu is %d (%g), not %d (%g)", vocab, r, i, got_tops[at],
              static_cast<double>(got_top_logprobs[at]), want.top[i].token,
              static_cast<double>(want.top[i].logprob));
        }
      }
    }
  }

  static bool is_near(float got, float want) {
    return std::abs(static_cast<double>(got) - static_cast<double>(want)) <=
           1e-5 + 1e-6 * std::abs(static_cast<double>(want));
  }

  std::mt19937_64 engine_{7};
  Sampler sampler_;
  Expectations expectations_{"sample"};
};

}  // namespace

bool sample_tests() { return SampleTest().run(); }

}  // namespace baton::gpu
