// The masks of one step: whose they are, and that what they cost is bounded for the step while every row gets
// on and no token changes.
#include "engine/step_masks.hpp"

#include <atomic>

#include "engine/lone_engine.hpp"
#include "support/fake_grammar.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

// Time that passes where somebody says so.
struct TestClock final : Clock {
  TimePoint now() const override { return TimePoint(Duration(time.load())); }
  std::atomic<Duration::rep> time{0};
};

// Another grammar, whose masks take time.
class Slow final : public TokenGrammar {
 public:
  // `taking`: what taking a token costs, by what the mask says.
  Slow(std::shared_ptr<const TokenGrammar> grammar, TestClock& clock, Duration cost, Duration taking = {})
      : grammar_(std::move(grammar)), clock_(clock), cost_(cost), taking_(taking) {}
  std::unique_ptr<TokenMask> start() const override { return std::make_unique<Mask>(*this); }

  mutable std::atomic<int> writes{0};

 private:
  struct Mask final : TokenMask {
    explicit Mask(const Slow& s) : slow(s), mask(s.grammar_->start()) {}
    bool write(std::span<std::uint32_t> allowed) override {
      ++slow.writes;
      slow.clock_.time += slow.cost_.count();
      return mask->write(allowed);
    }
    bool advance(TokenId token) override { return mask->advance(token); }
    Duration advance_time() const override { return slow.taking_; }
    bool ended() const override { return mask->ended(); }
    const Slow& slow;
    std::unique_ptr<TokenMask> mask;
  };

  std::shared_ptr<const TokenGrammar> grammar_;
  TestClock& clock_;
  const Duration cost_, taking_;
};

// Steps of rows that all sample, without a model.
struct Rows {
  std::size_t add(Duration cost, Duration taking = {}) {
    grammars.push_back(std::make_shared<Slow>(multiples_of(7, kEnd), clock, cost, taking));
    sequences.push_back(make_sequence(make_request(1, grammars.back()), kBlockSize, BlockHashKey{}, {}));
    plan.rows.push_back({.sequence = sequences.back().get(), .rows = 1, .sample = true});
    return sequences.size() - 1;
  }
  // Which rows got a mask; what a scheduler remembers of it is remembered.
  std::vector<std::size_t> step() {
    std::vector<RowResult> results(plan.rows.size());
    masks.write(plan, 40, results);
    std::vector<std::size_t> made;
    for (std::size_t i = 0; i < results.size(); ++i) {
      CHECK(masks.of(i).empty() == results[i].deferred);
      CHECK(results[i].mask_time.has_value() != results[i].deferred);
      if (results[i].mask_time) sequences[i]->mask_time = results[i].mask_time;
      sequences[i]->deferred = results[i].deferred ? sequences[i]->deferred + 1 : 0;
      if (!results[i].deferred) made.push_back(i);
    }
    return made;
  }

  TestClock clock;
  StepMasks masks{clock};
  StepPlan plan;
  std::vector<std::shared_ptr<Slow>> grammars;
  std::vector<std::unique_ptr<Sequence>> sequences;
};

using Made = std::vector<std::size_t>;

}  // namespace

TEST_CASE("masks that fit into a step's budget are all made") {
  Rows rows;
  for (int i = 0; i < 5; ++i) rows.add(4999us);
  for (int step = 0; step < 3; ++step) CHECK(rows.step() == Made{0, 1, 2, 3, 4});
}

TEST_CASE("rows that the budget does not reach are deferred, and have their turn first") {
  Rows rows;
  for (int i = 0; i < 5; ++i) rows.add(10ms);
  CHECK(rows.step() == Made{0, 1});
  CHECK(rows.step() == Made{2, 3});
  CHECK(rows.step() == Made{0, 4});
  CHECK(rows.step() == Made{1, 2});
}

TEST_CASE("taking the tokens counts as well") {
  Rows rows;
  for (int i = 0; i < 4; ++i) rows.add(100us, 12ms);
  CHECK(rows.step() == Made{0, 1});
  CHECK(rows.step() == Made{2, 3});
}

TEST_CASE("one mask is made in each step whatever it costs, each row's in turn") {
  Rows rows;
  for (int i = 0; i < 4; ++i) rows.add(3s);
  for (int round = 0; round < 3; ++round)
    for (std::size_t row = 0; row < 4; ++row) CHECK(rows.step() == Made{row});
}

TEST_CASE("quick masks do not wait for slow ones, and slow ones not for ever") {
  Rows rows;
  for (int i = 0; i < 3; ++i) rows.add(50ms);
  const std::size_t quick = rows.add(10us);
  for (int step = 0; step < 4; ++step) rows.step();  // then it is known who is quick
  std::vector<int> before;
  for (const auto& grammar : rows.grammars) before.push_back(grammar->writes);
  const Duration::rep begun = rows.clock.time;
  for (int step = 0; step < 30; ++step) rows.step();
  CHECK(Duration(rows.clock.time - begun) == 30 * (50ms + 10us));
  CHECK(rows.grammars[quick]->writes - before[quick] == 30);
  for (std::size_t i = 0; i < quick; ++i) CHECK(rows.grammars[i]->writes - before[i] == 10);
}

TEST_CASE("where quick masks alone take the whole budget, slow ones get on all the same") {
  Rows rows;
  const std::size_t slow = rows.add(30ms);
  for (int i = 0; i < 40; ++i) rows.add(900us);
  for (int step = 0; step < 40; ++step) rows.step();
  const int before = rows.grammars[slow]->writes;
  for (int step = 0; step < 80; ++step) rows.step();
  CHECK(rows.grammars[slow]->writes - before >= 2);  // in so many steps as there are rows, once
  for (const auto& grammar : rows.grammars) CHECK(grammar->writes > 0);
}

TEST_CASE("outputs are the same whether their rows are deferred or not") {
  TestClock clock;
  const auto request = [&](std::uint64_t id, bool slow) {
    std::shared_ptr<const TokenGrammar> grammar = multiples_of(7, kEnd);
    if (slow) grammar = std::make_shared<Slow>(grammar, clock, 15ms);
    Request r = make_request(id, grammar, 30);
    if (id % 3 == 0) r.sampling.temperature = 0;
    return r;
  };
  std::vector<std::vector<TokenId>> expected;
  std::uint64_t quick_steps = 0;
  for (const bool slow : {false, true}) {
    Lone lone(slow ? 30 : 400, false, &clock);  // some are preempted, too
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (std::uint64_t id = 1; id <= 8; ++id) sinks.push_back(lone.submit(request(id, slow)));
    Request free = make_request(9, nullptr, 30);
    free.grammar.clear();
    sinks.push_back(lone.submit(free));
    for (std::size_t i = 0; i < sinks.size(); ++i) {
      REQUIRE(sinks[i]->wait_end());
      REQUIRE(sinks[i]->finish());
      if (slow)
        CHECK(sinks[i]->tokens() == expected[i]);
      else
        expected.push_back(sinks[i]->tokens());
    }
    for (int i = 0; i < 1000 && !lone.engine->idle(); ++i) std::this_thread::sleep_for(5ms);
    const EngineStats stats = lone.engine->stats();
    CHECK(stats.blocks_in_use == 0);
    if (slow)
      CHECK(stats.steps > quick_steps + 20);  // two masks a step
    else
      quick_steps = stats.steps;
  }
}

TEST_CASE("a handoff and a cancel find requests whose rows are deferred") {
  TestClock clock;
  Lone lone(400, false, &clock);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t id = 1; id <= 6; ++id) {
    Request r = make_request(id, std::make_shared<Slow>(exactly(text_of(id, 40), kEnd), clock, 1s), 41);
    if (id % 2 == 0) r.phase = Phase::prefill;
    sinks.push_back(lone.submit(r));
  }
  std::stop_source stop;
  const auto cancelled = std::make_shared<CollectingSink>();
  REQUIRE(lone.engine->submit(make_request(7, std::make_shared<Slow>(multiples_of(7, kEnd), clock, 1s), 400),
                              stop.get_token(), cancelled));
  REQUIRE(cancelled->wait_tokens(2));
  stop.request_stop();
  REQUIRE(cancelled->wait_end());
  for (std::uint64_t id = 1; id <= 6; ++id) {
    const auto& sink = sinks[id - 1];
    REQUIRE(sink->wait_end());
    REQUIRE(sink->finish());
    const auto text = text_of(id, 40);
    CHECK(sink->tokens() == std::vector<TokenId>(text.begin(), id % 2 == 0 ? text.begin() + 1 : text.end()));
    CHECK((sink->finish()->reason == FinishReason::handed_off) == (id % 2 == 0));
  }
}

TEST_CASE("a step's masks belong to the rows that sample, and end with the vocabulary") {
  const auto sequence = [](std::shared_ptr<const TokenGrammar> grammar) {
    Request request = make_request(1, std::move(grammar));
    return make_sequence(std::move(request), kBlockSize, BlockHashKey{}, {});
  };
  const auto grammar = exactly({5}, kEnd);
  const auto free = sequence(nullptr), five = sequence(grammar), waits = sequence(grammar),
             beyond = sequence(exactly({41}, kEnd)), six = sequence(exactly({6}, kEnd));
  StepPlan plan;
  for (const auto* s : {&free, &five, &waits, &beyond, &six})
    plan.rows.push_back({.sequence = s->get(), .rows = 1, .sample = s != &waits});
  std::vector<RowResult> results(plan.rows.size());
  TestClock clock;
  StepMasks masks(clock);
  masks.write(plan, 40, results);  // of which the second word has eight
  CHECK(masks.of(0).empty());
  CHECK(std::ranges::equal(masks.of(1), std::vector<std::uint32_t>{1U << 5, 0}));
  CHECK(masks.of(2).empty());
  CHECK(grammar->writes == 1);
  CHECK(masks.of(3).empty());
  CHECK(results[3].error);
  CHECK(std::ranges::equal(masks.of(4), std::vector<std::uint32_t>{1U << 6, 0}));
  for (const std::size_t row : {0, 1, 2, 4}) CHECK_FALSE(results[row].error);
  plan.rows.resize(1);
  masks.write(plan, 40, results);
  CHECK(masks.of(0).empty());
}
