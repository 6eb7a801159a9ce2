// Sampling under masks on a GPU, through Ops and through an executor: tokens are those of the CPU's sampler,
// and masks are made while the device computes. The executor's model is a table of logits by the newest
// token.
#include <cmath>
#include <random>

#include "baton/cache/block_pool.hpp"
#include "baton/engine/model_executor.hpp"
#include "baton/model/sampler.hpp"
#include "baton/schedule/scheduler.hpp"
#include "support/fake_grammar.hpp"
#include "tensor/ops_contract.hpp"

namespace baton::test {
namespace {

constexpr std::int32_t kVocab = 1000;  // no multiple of 32
constexpr std::int32_t kBlock = 16;
constexpr TokenId kEnd = 3;

class TableModel final : public Model {
 public:
  explicit TableModel(Ops& ops) : logits_(Matrix::random(kVocab, kVocab, 11, 6.0F)) {
    const WeightView view{.data = logits_.values.data(), .dtype = DType::f32, .out = kVocab, .in = kVocab};
    table_ = require_pack(ops, {&view, 1});
  }
  const ModelConfig& config() const override { return config_; }
  Hash128 fingerprint() const override { return {}; }
  KvSpec kv_spec(std::int32_t, std::optional<DType>) const override { return {}; }
  Tensor forward(const Batch& batch, const KvView&, Ops& ops) override {
    ++steps;
    ops.begin_step(none_, {});
    newest_.clear();
    for (const std::int32_t row : batch.logit_rows)
      newest_.push_back(batch.tokens[static_cast<std::size_t>(row)]);
    return ops.embed(table_, newest_);
  }
  int steps = 0;

 private:
  const Matrix logits_;
  Linear table_;
  ModelConfig config_;
  std::vector<std::int32_t> newest_;
  const Batch none_;  // there is no attention
};

struct Outcome {
  std::vector<TokenId> tokens;
  bool failed = false, by_length = false;
  bool operator==(const Outcome&) const = default;
};

std::shared_ptr<const TokenGrammar> grammar_of(std::uint64_t id) {
  switch (id % 6) {
    case 1:
      return multiples_of(7, kEnd);
    case 2:
      return exactly({999, 31, 32, 64, 5}, kEnd);
    case 3:
      return stuck_after(4);
    case 4:  // an end that is banned is all that may come after three
      return std::make_shared<FakeGrammar>(
          [](FakeGrammar::Output output, TokenId next) {
            return output.size() < 3 ? next == 500 : next == kEnd;
          },
          [](FakeGrammar::Output) { return false; });
    default:
      return nullptr;
  }
}

// So much passes each time that somebody looks.
struct PassingClock final : Clock {
  explicit PassingClock(Duration step) : step_(step) {}
  TimePoint now() const override { return now_ += step_; }

 private:
  const Duration step_;
  mutable TimePoint now_{};
};

// What becomes of 18 requests that run side by side; `mask_time`: what each mask takes.
std::vector<Outcome> run(Ops& ops, Duration mask_time = {}) {
  TableModel model(ops);
  const PassingClock clock(mask_time);
  BlockPool pool(200, kBlock);
  Scheduler scheduler({}, pool);
  const auto executor = make_model_executor(model, ops, KvView{}, clock);
  std::vector<Outcome> outcomes(18);
  int steps_at_first_mask = -1;
  for (std::uint64_t id = 0; id < outcomes.size(); ++id) {
    Request request;
    request.id = {0, id};
    request.prompt = {static_cast<TokenId>(17 * id)};
    request.sampling.seed = id;
    request.sampling.temperature = id < 6 ? 0.0F : 0.9F;
    if (id >= 12) request.sampling.top_p = 0.8F;
    request.sampling.logprobs = id % 4 == 0 ? 2 : -1;
    request.stop.max_tokens = 9;
    request.stop.min_tokens = id % 6 == 4 ? 9 : 0;
    request.stop.eos_token_ids = {kEnd};
    request.compiled_grammar = grammar_of(id);
    if (id == 1)
      request.compiled_grammar = std::make_shared<FakeGrammar>(
          [&](FakeGrammar::Output, TokenId next) {
            if (steps_at_first_mask < 0) steps_at_first_mask = model.steps;
            return next % 7 == 0;
          },
          [](FakeGrammar::Output) { return false; });
    REQUIRE(scheduler.admit(make_sequence(std::move(request), kBlock, BlockHashKey{}, {})));
  }
  int deferred = 0;
  for (int step = 0; step < 200 && scheduler.running() + scheduler.waiting() > 0; ++step) {
    const StepPlan plan = scheduler.plan({});
    executor->submit(plan);
    const StepResult result = executor->wait();
    REQUIRE(!result.device_failure);
    for (std::size_t i = 0; i < plan.rows.size(); ++i) {
      const RowResult& row = result.rows[i];  // one of the four
      CHECK((row.token ? 1 : 0) + (row.error ? 1 : 0) + (row.complete ? 1 : 0) + (row.deferred ? 1 : 0) ==
            (plan.rows[i].sample ? 1 : 0));
      deferred += row.deferred ? 1 : 0;
    }
    for (const EndedSequence& ended : scheduler.commit(plan, result, {}).ended)
      outcomes[ended.sequence->request.id.low] = {ended.sequence->request.output, ended.error.has_value(),
                                                  ended.by_length};
  }
  REQUIRE(scheduler.running() + scheduler.waiting() == 0);
  CHECK(steps_at_first_mask == 1);  // after the first step was launched
  CHECK((deferred > 0) == (mask_time > Duration{}));
  return outcomes;
}

}  // namespace

TEST_CASE("what the GPU samples for an executor is what the CPU samples, with grammars and without") {
  auto cpu = require_ops({}, 1);
  auto gpu = require_ops({.device = {DeviceKind::cuda, 0}, .activations = DType::f32});
  const std::vector<Outcome> wanted = run(*cpu), got = run(*gpu);
  CHECK(run(*gpu, std::chrono::milliseconds(15)) == wanted);  // rows that are deferred are sampled later
  for (std::uint64_t id = 0; id < wanted.size(); ++id) {
    INFO("request " << id);
    CHECK(got[id] == wanted[id]);
    CHECK(got[id].failed == (id % 6 == 3));
    if (id % 6 == 2) CHECK(got[id].tokens == std::vector<TokenId>{999, 31, 32, 64, 5});
    if (id % 6 == 3) CHECK(got[id].tokens.size() == 4);
    if (id % 6 == 4) CHECK(got[id].tokens == std::vector<TokenId>{500, 500, 500});
    if (id % 6 == 1)
      for (const TokenId token : got[id].tokens) CHECK((token == kEnd || token % 7 == 0));
  }
}

// Parameters of every kind, those with a mask beside those without, of vocabularies that fill their last word
// and that do not; then more rows than the memory of the first batch holds.
TEST_CASE("what the GPU samples under masks is what the CPU samples, through Ops") {
  auto ops = require_ops({.device = {DeviceKind::cuda, 0}, .activations = DType::f32});
  ops->begin_step(Batch{}, {});
  Sampler sampler;
  std::mt19937_64 random(5);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (const std::size_t vocab : {std::size_t{1000}, std::size_t{1024}, std::size_t{33}, std::size_t{5003}}) {
    const std::size_t count = vocab == 5003 ? 40 : 12;
    const Matrix logits =
        Matrix::random(static_cast<std::int64_t>(count), static_cast<std::int64_t>(vocab), 3, 6.0F);
    std::vector<SamplingParams> params(count);
    std::vector<std::vector<std::uint32_t>> masks(count);
    std::vector<RowSampling> rows(count);
    for (std::size_t r = 0; r < count; ++r) {
      SamplingParams& p = params[r];
      p.temperature = r % 3 == 0 ? 0.0F : 0.8F;
      p.top_k = r % 4 == 1 ? 5 : 0;
      p.top_p = r % 4 == 2 ? 0.8F : 1.0F;
      p.min_p = r % 4 == 3 ? 0.05F : 0.0F;
      p.seed = random();
      p.logprobs = r % 2 == 0 ? 2 : -1;
      if (r % 5 == 0) p.logit_bias = {{static_cast<TokenId>(below(vocab)), 4.0F}};
      rows[r].temperature = p.temperature;
      rows[r].top_p = p.top_p;
      rows[r].min_p = p.min_p;
      rows[r].top_k = p.top_k;
      rows[r].seed = p.seed;
      rows[r].logprobs = p.logprobs;
      rows[r].bias = p.logit_bias;
      if (r % 6 == 1) rows[r].banned = {static_cast<TokenId>(below(vocab))};
      if (r % 3 == 1) continue;  // no mask
      // Some tokens, one token, or a mask that ends before the vocabulary does.
      masks[r].resize(r % 7 == 2 ? (vocab + 63) / 64 : (vocab + 31) / 32);
      for (std::size_t n = r % 4 == 0 ? 1 : 20; n > 0; --n) {
        const std::size_t id = below(std::min(vocab, 32 * masks[r].size()));
        masks[r][id / 32] |= std::uint32_t{1} << (id % 32);
      }
      rows[r].mask = masks[r];
    }
    const auto samples = ops->sample(upload(*ops, logits), rows);
    REQUIRE(samples.has_value());
    for (std::size_t r = 0; r < count; ++r) {
      const std::span<const float> row = std::span(logits.values).subspan(r * vocab, vocab);
      const auto want = sampler.sample({row, {}, {}, 0, rows[r].banned, masks[r]}, params[r]);
      CHECK((*samples)[r].token == want.token);
      if (params[r].logprobs < 0) continue;
      CHECK(std::abs((*samples)[r].logprob - want.logprob) < 1e-4F);
      for (std::size_t t = 0; t < want.top.size(); ++t)
        CHECK((*samples)[r].top[t].first == want.top[t].token);
    }
  }
}

}  // namespace baton::test
