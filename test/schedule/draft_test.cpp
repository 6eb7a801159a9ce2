// Drafts: what is guessed, how often, and what becomes of guesses that are right, wrong or beyond the end.
#include "schedule/draft.hpp"

#include "schedule/scheduler_rig.hpp"

namespace baton::test {
namespace {

using Tokens = std::vector<TokenId>;

// A request whose prompt says the same again and again.
Request repeating(Rig& rig, std::int32_t max_tokens = 40) {
  Request r = rig.request(0, max_tokens);
  for (int i = 0; i < 4; ++i)
    for (const TokenId token : {11, 12, 13, 14, 15}) r.prompt.push_back(token);
  return r;
}

// Samples as if the text went on: the plan's guesses are right up to `right`, then comes 99.
StepResult answer(const StepPlan& plan, std::size_t right) {
  StepResult result;
  for (const PlannedRows& rows : plan.rows) {
    RowResult row;
    const std::size_t kept = std::min(right, rows.draft.size());
    const auto sampled = [&](std::size_t i) {
      return SampledToken{.token = i < kept ? rows.draft[i] : 99, .top = {}};
    };
    if (rows.sample) row.token = sampled(0);
    for (std::size_t i = 1; rows.sample && i <= kept; ++i) row.further.push_back(sampled(i));
    result.rows.push_back(std::move(row));
  }
  return result;
}

}  // namespace

TEST_CASE("a draft is what followed the latest of the longest earlier copies of the text's end") {
  CHECK(look_up_draft(Tokens{1, 2, 3, 4, 9, 1, 2, 3}, 8) == Tokens{4, 9, 1, 2, 3, 4, 9, 1});
  CHECK(look_up_draft(Tokens{1, 2, 3, 4, 9, 1, 2, 3}, 2) == Tokens{4, 9});
  CHECK(look_up_draft(Tokens{1, 2, 5, 8, 1, 2, 6, 1, 2}, 1) == Tokens{6});        // the latest
  CHECK(look_up_draft(Tokens{9, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2}, 1) == Tokens{5});  // the longest
  CHECK(look_up_draft(Tokens{0, 1, 2, 3, 4, 5, 0, 2, 3, 4, 6, 1, 2, 3, 4}, 1) == Tokens{5});
  CHECK(look_up_draft(Tokens{7, 7, 7}, 4) == Tokens{7, 7, 7, 7});  // overlapping
  CHECK(look_up_draft(Tokens{7, 7, 7, 7, 7, 7}, 2) == Tokens{7, 7});
  CHECK(look_up_draft(Tokens{1, 5, 2, 5, 3, 5}, 4).empty());  // one token is no copy
  CHECK(look_up_draft(Tokens{1, 2, 3}, 4).empty());
  CHECK(look_up_draft(Tokens{1, 2}, 4).empty());
  CHECK(look_up_draft(Tokens{}, 4).empty());
  for (const bool far : {false, true}) {
    Tokens text{1, 2, 3};
    for (TokenId token = 100; token < (far ? 33'000 : 32'000); ++token) text.push_back(token);
    text.insert(text.end(), {1, 2});
    CHECK(look_up_draft(text, 1) == (far ? Tokens{} : Tokens{3}));
  }
  CHECK(look_up_draft(Tokens{1, 2, 3, 1, 2}, 0).empty());
}

TEST_CASE("guesses get longer while they are right, and rarer while they are wrong") {
  DraftLength length(8);
  CHECK(length.next() == 8);
  length.turned_out(8, 3);
  CHECK(length.next() == 3);
  length.turned_out(3, 3);
  CHECK(length.next() == 6);
  length.turned_out(6, 6);
  CHECK(length.next() == 8);
  for (const int pause : {1, 2, 4, 8, 16, 32, 32}) {
    length.turned_out(8, 0);
    for (int step = 0; step < pause; ++step) CHECK(length.next() == 0);
    CHECK(length.next() == 1);
  }
  length.turned_out(1, 1);
  CHECK(length.next() == 2);
  length.turned_out(2, 0);
  CHECK(length.next() == 0);
  CHECK(length.next() == 1);
}

TEST_CASE("right guesses become output in one step, and the first wrong one ends it") {
  Rig rig(64, {.draft_tokens = 4});
  rig.admitted(repeating(rig));
  rig.commit(rig.plan(), 11);  // the prompt, and the token that goes on with it
  StepPlan plan = rig.plan();
  REQUIRE(rows_of(plan) == Rows{5});
  CHECK(plan.rows[0].draft == Tokens{12, 13, 14, 15});
  CHECK(plan.rows[0].token(0) == 11);
  CHECK(plan.rows[0].token(1) == 12);
  CHECK(plan.rows[0].sampled_rows() == 5);
  CHECK(plan.tokens == 5);
  StepOutcome outcome = rig.scheduler.commit(plan, answer(plan, 2), rig.now);
  REQUIRE(outcome.sampled.size() == 1);
  CHECK(outcome.sampled[0].tokens == 3);
  const Sequence* sequence = outcome.sampled[0].sequence;
  CHECK(sequence->request.output == Tokens{11, 12, 13, 99});
  CHECK(sequence->computed == sequence->size() - 1);
  CHECK(rig.scheduler.drafted_tokens() == 4);
  CHECK(rig.scheduler.accepted_tokens() == 2);
  CHECK(rig.scheduler.prefill_tokens_computed() == 19);

  plan = rig.plan();  // nothing ends like this
  CHECK(rows_of(plan) == Rows{1});
  CHECK(plan.rows[0].first_position == 23);
}

TEST_CASE("what is sampled behind a wrong guess is not believed") {
  Rig rig(64, {.draft_tokens = 4});
  rig.admitted(repeating(rig));
  rig.commit(rig.plan(), 11);
  const StepPlan plan = rig.plan();
  StepResult wrong = answer(plan, 4);
  wrong.rows[0].token->token = 50;
  const StepOutcome outcome = rig.scheduler.commit(plan, wrong, rig.now);
  CHECK(outcome.sampled[0].tokens == 1);
  CHECK(outcome.sampled[0].sequence->request.output == Tokens{11, 50});
  CHECK(rig.scheduler.accepted_tokens() == 0);
}

TEST_CASE("a sequence ends within a draft: by a stop id, by max_tokens, by the context") {
  SECTION("a stop id") {
    Rig rig(64, {.draft_tokens = 4});
    Request r = repeating(rig);
    r.stop.stop_token_ids = {13};
    rig.admitted(r);
    rig.commit(rig.plan(), 11);
    const StepPlan plan = rig.plan();
    const StepOutcome outcome = rig.scheduler.commit(plan, answer(plan, 4), rig.now);
    REQUIRE(outcome.ended.size() == 1);
    CHECK(outcome.sampled[0].tokens == 2);
    CHECK(outcome.ended[0].sequence->request.output == Tokens{11, 12, 13});
    CHECK_FALSE(outcome.ended[0].by_length);
  }
  SECTION("max_tokens") {
    Rig rig(64, {.draft_tokens = 8});
    rig.admitted(repeating(rig, 4));
    rig.commit(rig.plan(), 11);
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].draft == Tokens{12, 13});  // and one that is sampled
    const StepOutcome outcome = rig.scheduler.commit(plan, answer(plan, 2), rig.now);
    REQUIRE(outcome.ended.size() == 1);
    CHECK(outcome.ended[0].by_length);
    CHECK(outcome.ended[0].sequence->request.output.size() == 4);
  }
  SECTION("the context") {
    Rig rig(64, {.max_context = 24, .draft_tokens = 8});
    rig.admitted(repeating(rig));
    rig.commit(rig.plan(), 11);
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].draft == Tokens{12, 13});
    const StepOutcome outcome = rig.scheduler.commit(plan, answer(plan, 2), rig.now);
    REQUIRE(outcome.ended.size() == 1);
    CHECK(outcome.ended[0].sequence->size() == 24);
  }
}

TEST_CASE("nobody gives way for a guess, and who has a grammar, penalties or a handoff gets none") {
  const auto drafts = [](Rig& rig) {
    rig.commit(rig.plan(), 11);
    const StepPlan plan = rig.plan();
    REQUIRE(plan.rows.size() == 1);
    return plan.rows[0].draft.size();
  };
  {
    Rig rig(8, {.draft_tokens = 4});
    const auto others = rig.pool.allocate(2);
    rig.admitted(repeating(rig, 8));  // 24 positions: three beyond the newest token's
    CHECK(drafts(rig) == 3);
  }
  {
    Rig rig(64, {.draft_tokens = 4, .draft_rows = 3});
    rig.admitted(repeating(rig));
    CHECK(drafts(rig) == 2);
  }
  for (const bool penalties : {true, false}) {
    Rig rig(64, {.draft_tokens = 4});
    Request r = repeating(rig);
    if (penalties) r.sampling.presence_penalty = 1;
    rig.admitted(r);
    CHECK(drafts(rig) == (penalties ? 0U : 4U));
  }
  {
    Rig rig(64, {.draft_tokens = 4});
    const RequestKey key = rig.admitted(repeating(rig));
    rig.commit(rig.plan(), 11);
    rig.scheduler.hand_off(key, "elsewhere");
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].draft.empty());
    CHECK(rig.commit(plan).ended[0].handed_off);
  }
  // Cached blocks are worth more than guesses.
  Rig rig(7, {.draft_tokens = 8});
  rig.admitted(rig.request(4, 1));
  rig.drain();
  CHECK(rig.pool.cached() == 1);
  rig.admitted(repeating(rig, 8));
  CHECK(drafts(rig) == 3);
  CHECK(rig.pool.cached() == 1);
}

}  // namespace baton::test
