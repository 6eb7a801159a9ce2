// Scheduler: sequences whose output follows a grammar: the mask is where the output is, whoever computed it,
// and its end is the sequence's.
#include "baton/schedule/stop_rules.hpp"
#include "schedule/scheduler_rig.hpp"
#include "support/catch.hpp"
#include "support/fake_grammar.hpp"

namespace baton::test {
namespace {

Request follow(Request request, std::shared_ptr<const TokenGrammar> grammar) {
  request.grammar = "fake";
  request.compiled_grammar = std::move(grammar);
  return request;
}

// The ids below 64 that may come next.
std::vector<TokenId> next_of(const Sequence& sequence) {
  std::uint32_t words[2];
  sequence.mask->write(words);
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < 64; ++id)
    if ((words[id / 32] >> (id % 32) & 1U) != 0) ids.push_back(id);
  return ids;
}

TEST_CASE("a mask stands behind the output that the request brought") {
  Rig rig;
  Request r = follow(rig.request(5), exactly({9, 5, 7}, kEos));
  CHECK(next_of(*rig.sequence(r)) == std::vector<TokenId>{9});
  r.output = {9, 5};
  CHECK(next_of(*rig.sequence(r)) == std::vector<TokenId>{7});
  r.output = {9, 5, 7};
  CHECK(rig.sequence(r)->mask->ended());
  r.compiled_grammar = nullptr;
  CHECK(rig.sequence(r)->mask == nullptr);
}

TEST_CASE("an output that does not follow its grammar is refused") {
  Rig rig;
  Request r = follow(rig.request(5), exactly({9, 5, 7}, kEos));
  r.output = {9, 6};
  const auto admitted = rig.admit(r);
  REQUIRE_FALSE(admitted);
  CHECK(admitted.error().code == ErrorCode::internal);
  CHECK(admitted.error().field == "grammar");
  CHECK(rig.scheduler.waiting() == 0);
}

TEST_CASE("the end of the grammar ends the sequence like a stop id") {
  Rig rig;
  Request r = follow(rig.request(5), exactly({9, 9, 9}, kEos));
  SECTION("before its length") {}
  SECTION("at its length") { r.stop.max_tokens = 3; }
  SECTION("below min_tokens") { r.stop.min_tokens = 6; }
  SECTION("where EOS is ignored") { r.stop.ignore_eos = true; }
  rig.admitted(r);
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 1);
  CHECK_FALSE(ended[0].error);
  CHECK_FALSE(ended[0].by_length);
  CHECK(ended[0].sequence->request.output == std::vector<TokenId>{9, 9, 9});
}

TEST_CASE("a length that comes before the end of the grammar is a length") {
  Rig rig;
  rig.admitted(follow(rig.request(5, 2), exactly({9, 9, 9}, kEos)));
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].by_length);
}

TEST_CASE("a prefill whose first token completes the grammar is not handed off") {
  Rig rig;
  Request r = follow(rig.request(5), exactly({9}, kEos));
  r.phase = Phase::prefill;
  rig.admitted(r);
  const StepOutcome outcome = rig.step();
  REQUIRE(outcome.ended.size() == 1);
  CHECK_FALSE(outcome.ended[0].handed_off);
}

TEST_CASE("a token that does not follow the grammar ends its sequence only, and is no output") {
  Rig rig;
  const RequestKey bad = rig.admitted(follow(rig.request(5), exactly({9, 5}, kEos)));
  rig.admitted(rig.request(5));
  CHECK(rig.step().sampled.size() == 2);
  const StepOutcome outcome = rig.step();  // 9 again
  REQUIRE(outcome.ended.size() == 1);
  CHECK(key_of(outcome.ended[0].sequence->request) == bad);
  REQUIRE(outcome.ended[0].error);
  CHECK(outcome.ended[0].error->code == ErrorCode::internal);
  CHECK(outcome.ended[0].sequence->request.output == std::vector<TokenId>{9});
  CHECK(outcome.sampled.size() == 1);
  CHECK(rig.scheduler.running() == 1);
}

TEST_CASE("a row that is complete ends its sequence without a token") {
  Rig rig;
  rig.admitted(rig.request(5));
  const StepPlan plan = rig.plan();
  StepResult result;
  result.rows.resize(1);
  result.rows[0].complete = true;
  const StepOutcome outcome = rig.scheduler.commit(plan, result, rig.now);
  REQUIRE(outcome.ended.size() == 1);
  CHECK_FALSE(outcome.ended[0].error);
  CHECK_FALSE(outcome.ended[0].by_length);
  CHECK_FALSE(outcome.ended[0].handed_off);
  CHECK(outcome.ended[0].sequence->request.output.empty());
  CHECK(outcome.ended[0].sequence->first_token == rig.now);
  CHECK(outcome.sampled.empty());
}

TEST_CASE("EOS is banned below min_tokens, and always where it is ignored beside a grammar") {
  Rig rig;
  Request r = rig.request(5);
  r.stop = {.min_tokens = 1, .ignore_eos = true, .eos_token_ids = {kEos}, .stop_token_ids = {7}};
  const auto banned = [&](const Request& request) { return banned_tokens(*rig.sequence(request)); };
  CHECK(banned(r) == std::vector<TokenId>{7});
  r = follow(r, multiples_of(3, kEos));
  CHECK(banned(r) == std::vector<TokenId>{7, kEos});
  r.output = {9};
  CHECK(banned(r) == std::vector<TokenId>{kEos});
  r.stop.ignore_eos = false;
  CHECK(banned(r).empty());
  r.output = {};
  CHECK(banned(r) == std::vector<TokenId>{7, kEos});
}

TEST_CASE("a preempted sequence goes on in its grammar") {
  Rig rig(8);
  const auto grammar = exactly(std::vector<TokenId>(18, 9), kEos);
  for (int i = 0; i < 2; ++i) rig.admitted(follow(rig.request(7, 20), grammar));
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 2);
  for (const EndedSequence& end : ended) {
    CHECK_FALSE(end.error);
    CHECK(end.sequence->request.output.size() == 18);
  }
  CHECK(rig.scheduler.preemptions() > 0);
  CHECK(grammar->starts == 2);  // nothing was replayed
}

// A step that has no time for anybody's mask.
StepOutcome defer(Rig& rig) {
  const StepPlan plan = rig.plan();
  StepResult result;
  result.rows.resize(plan.rows.size());
  for (std::size_t i = 0; i < plan.rows.size(); ++i) result.rows[i].deferred = plan.rows[i].sample;
  return rig.scheduler.commit(plan, result, rig.now);
}

TEST_CASE("a deferred sequence computes its last row again, and only that") {
  Rig rig;
  const RequestKey key = rig.admitted(follow(rig.request(8), multiples_of(3, kEos)));
  const Sequence* sequence = rig.scheduler.find(key);
  for (int times = 1; times <= 3; ++times) {
    const StepOutcome outcome = defer(rig);
    CHECK(outcome.sampled.empty());
    CHECK(outcome.ended.empty());
    CHECK(sequence->computed == 7);
    CHECK(sequence->deferred == times);
    CHECK(sequence->request.output.empty());
    CHECK(sequence->first_token == TimePoint{});
    CHECK(rig.pool.published().size() == 1);  // not the block whose last row is written again
    CHECK(rig.scheduler.waiting_prefill_tokens() == 0);
  }
  const StepPlan plan = rig.plan();
  REQUIRE(rows_of(plan) == Rows{1});
  CHECK(plan.rows[0].first_position == 7);
  CHECK(plan.rows[0].sample);
  CHECK(rig.commit(plan).sampled.size() == 1);
  CHECK(sequence->computed == 8);
  CHECK(sequence->deferred == 0);
  CHECK(rig.pool.published().size() == 2);
  CHECK(rig.scheduler.prefill_tokens_computed() == 7);
  CHECK(rig.scheduler.recomputed_tokens() == 0);
  defer(rig);
  CHECK(sequence->computed == 8);
  CHECK(sequence->deferred == 1);
}

TEST_CASE("a deferred prefill is handed off with the token that it gets at last") {
  Rig rig;
  Request r = follow(rig.request(5), multiples_of(3, kEos));
  r.phase = Phase::prefill;
  rig.admitted(r);
  CHECK(defer(rig).ended.empty());
  const StepOutcome outcome = rig.step();
  REQUIRE(outcome.ended.size() == 1);
  CHECK(outcome.ended[0].handed_off);
  CHECK(outcome.ended[0].sequence->computed == 5);
}

TEST_CASE("cancel and deadline find a deferred sequence") {
  Rig rig;
  Request r = follow(rig.request(5), multiples_of(3, kEos));
  r.deadline = rig.now + milliseconds(3);
  const RequestKey cancelled = rig.admitted(follow(rig.request(5), multiples_of(3, kEos)));
  rig.admitted(r);
  defer(rig);
  CHECK(rig.scheduler.cancel(cancelled) != nullptr);
  defer(rig);
  CHECK(rig.plan().expired.size() == 1);
  CHECK(rig.pool.in_use() == 0);
}

TEST_CASE("what a mask took is remembered until the next one") {
  Rig rig;
  const RequestKey key = rig.admitted(follow(rig.request(5), multiples_of(3, kEos)));
  const Sequence* sequence = rig.scheduler.find(key);
  const StepPlan plan = rig.plan();
  StepResult result;
  result.rows.resize(1);
  result.rows[0].token = SampledToken{.token = 9, .top = {}};
  result.rows[0].mask_time = milliseconds(2);
  rig.scheduler.commit(plan, result, rig.now);
  defer(rig);
  CHECK(sequence->mask_time == milliseconds(2));
}

}  // namespace
}  // namespace baton::test
