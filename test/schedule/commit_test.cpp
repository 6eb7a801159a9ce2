// Scheduler: what results do to sequences: stop rules, the end of a prefill, errors, times.
#include <algorithm>

#include "baton/schedule/stop_rules.hpp"
#include "schedule/scheduler_rig.hpp"
#include "support/catch.hpp"

namespace baton::test {
namespace {

TEST_CASE("stop rules") {
  struct Rules {
    std::int32_t max_tokens = 4;
    std::int32_t min_tokens = 0;
    bool ignore_eos = false;
    std::int32_t max_context = 0;
  };
  const auto cause = [](std::vector<TokenId> output, Rules rules = {}) {
    Request r;
    r.prompt = text(5);
    r.output = std::move(output);
    r.stop.max_tokens = rules.max_tokens;
    r.stop.min_tokens = rules.min_tokens;
    r.stop.ignore_eos = rules.ignore_eos;
    r.stop.eos_token_ids = {kEos, 3};
    r.stop.stop_token_ids = {7};
    return stop_cause(*make_sequence(r, kBlockSize, kKey, {}), rules.max_context);
  };
  CHECK(cause({9}) == StopCause::none);
  CHECK(cause({9, kEos}) == StopCause::token);
  CHECK(cause({9, 3}) == StopCause::token);
  CHECK(cause({kEos, 9}) == StopCause::none);  // only the newest token counts
  CHECK(cause({9, kEos}, {.max_tokens = 2}) == StopCause::token);
  CHECK(cause({9, 9}, {.max_tokens = 2}) == StopCause::length);
  CHECK(cause({9, kEos}, {.ignore_eos = true}) == StopCause::none);
  CHECK(cause({9, 7}, {.ignore_eos = true}) == StopCause::token);
  CHECK(cause({9, 7}, {.min_tokens = 2}) == StopCause::none);
  CHECK(cause({9, 9, 7}, {.min_tokens = 2}) == StopCause::token);
  CHECK(cause({9, 9}, {.max_tokens = 2, .min_tokens = 9}) == StopCause::length);
  CHECK(cause({9, 9}, {.max_tokens = 9, .min_tokens = 9, .max_context = 7}) == StopCause::length);
  CHECK(cause({9, 9}, {.max_context = 8}) == StopCause::none);
}

TEST_CASE("below min_tokens whatever would stop is banned") {
  Request r;
  r.prompt = text(5);
  r.stop = {.min_tokens = 2, .eos_token_ids = {kEos}, .stop_token_ids = {7}};
  CHECK(banned_tokens(*make_sequence(r, kBlockSize, kKey, {})) == std::vector<TokenId>{7, kEos});
  r.output = {9, 9};
  CHECK(banned_tokens(*make_sequence(r, kBlockSize, kKey, {})).empty());
  r.output = {9};
  r.stop.ignore_eos = true;
  CHECK(banned_tokens(*make_sequence(r, kBlockSize, kKey, {})) == std::vector<TokenId>{7});
}

TEST_CASE("a sequence with penalties counts its tokens as it grows") {
  using Counts = std::vector<std::pair<TokenId, std::int32_t>>;
  Request r;
  r.prompt = {5, 2, 5, 9};
  r.output = {2, 7};  // a continuation
  CHECK(make_sequence(r, kBlockSize, kKey, {})->counts.empty());
  for (const int which : {0, 1, 2}) {
    r.sampling = {};
    (which == 0   ? r.sampling.presence_penalty
     : which == 1 ? r.sampling.frequency_penalty
                  : r.sampling.repetition_penalty) = 0.5F;
    const auto sequence = make_sequence(r, kBlockSize, kKey, {});
    CHECK(sequence->counts == Counts{{2, 1}, {5, 0}, {7, 1}, {9, 0}});
    for (const TokenId token : {9, 1, 100, 6, 9}) append_token(*sequence, token, kBlockSize);
    CHECK(sequence->counts == Counts{{1, 1}, {2, 1}, {5, 0}, {6, 1}, {7, 1}, {9, 2}, {100, 1}});
  }
  r.sampling = {};
  const auto plain = make_sequence(r, kBlockSize, kKey, {});
  append_token(*plain, 3, kBlockSize);
  CHECK(plain->counts.empty());
}

TEST_CASE("a prefill ends after its first token and is handed off unless that token ends the request") {
  Rig rig;
  Request r = rig.request(5, 4);
  r.phase = Phase::prefill;
  SECTION("goes on elsewhere") {
    rig.admitted(r);
    StepOutcome outcome = rig.step();
    REQUIRE(outcome.ended.size() == 1);
    CHECK(outcome.ended[0].handed_off);
    CHECK_FALSE(outcome.ended[0].by_length);
    CHECK(outcome.ended[0].sequence->blocks.size() == 2);  // still pinned, for the transfer
    CHECK(outcome.ended[0].sequence->computed == 5);
    REQUIRE(outcome.sampled.size() == 1);
    CHECK(outcome.sampled[0].sequence == outcome.ended[0].sequence.get());
    CHECK(rig.pool.in_use() == 2);
    outcome.ended.clear();
    CHECK(rig.pool.in_use() == 0);
  }
  SECTION("EOS at once") {
    rig.admitted(r);
    const StepOutcome outcome = rig.step(kEos);
    REQUIRE(outcome.ended.size() == 1);
    CHECK_FALSE(outcome.ended[0].handed_off);
    CHECK_FALSE(outcome.ended[0].by_length);
  }
  SECTION("one token was all it wanted") {
    r.stop.max_tokens = 1;
    rig.admitted(r);
    const StepOutcome outcome = rig.step();
    REQUIRE(outcome.ended.size() == 1);
    CHECK_FALSE(outcome.ended[0].handed_off);
    CHECK(outcome.ended[0].by_length);
  }
}

TEST_CASE("an error of a row ends its sequence only, and publishes nothing of it") {
  Rig rig;
  const RequestKey good = rig.admitted(rig.request(8)), bad = rig.admitted(rig.request(8));
  const StepPlan plan = rig.plan();
  REQUIRE(keys_of(plan) == Keys{good, bad});
  StepResult result;
  result.rows.resize(2);
  result.rows[0].token = SampledToken{.token = 9, .top = {}};
  SECTION("reported") { result.rows[1].error = make_error(ErrorCode::internal, "a kernel failed"); }
  SECTION("no token where one was due") {}
  SECTION("no result at all") { result.rows.pop_back(); }
  const StepOutcome outcome = rig.scheduler.commit(plan, result, rig.now);
  REQUIRE(outcome.ended.size() == 1);
  CHECK(key_of(outcome.ended[0].sequence->request) == bad);
  CHECK(outcome.ended[0].error.has_value());
  CHECK(outcome.sampled.size() == 1);
  CHECK(rig.scheduler.running() == 1);
  CHECK(rig.pool.published().size() == 2);
}

TEST_CASE("times say when it was queued, scheduled, first answered and finished") {
  Rig rig(64, {.max_batch_tokens = 4});
  rig.now += milliseconds(10);
  rig.admitted(rig.request(6, 3));
  const TimePoint queued = rig.now;
  const auto ended = rig.drain();  // two steps of prefill, two more tokens
  REQUIRE(ended.size() == 1);
  const Sequence& s = *ended[0].sequence;
  CHECK(s.queued == queued);
  CHECK(s.scheduled == queued + milliseconds(1));
  CHECK(s.first_token == queued + milliseconds(2));
  CHECK(s.finished == queued + milliseconds(4));
}

}  // namespace
}  // namespace baton::test
