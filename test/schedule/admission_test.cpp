// Scheduler: who may enter and who starts: refusals, prefix hits, prefixes under way, received KV cache.
#include <limits>

#include "schedule/scheduler_rig.hpp"
#include "support/catch.hpp"

namespace baton::test {
namespace {

TEST_CASE(
    "decodes get their row first, then running prefills go on, then new ones start, within the budget") {
  Rig rig(64, {.max_batch_tokens = 8});
  const RequestKey decoding = rig.admitted(rig.request(4));
  rig.step();
  const RequestKey prefilling = rig.admitted(rig.request(12));
  CHECK(rows_of(rig.plan()) == Rows{1, 7});
  rig.step();
  const RequestKey fresh = rig.admitted(rig.request(12));
  const StepPlan plan = rig.plan();
  CHECK(keys_of(plan) == Keys{decoding, prefilling, fresh});
  CHECK(rows_of(plan) == Rows{1, 5, 2});
  CHECK(plan.tokens == 8);
  CHECK(plan.admitted.size() == 1);
}

TEST_CASE("a cached prefix is not computed again, except for the block of the newest token") {
  Rig rig;
  Request first = rig.request(9, 1);
  rig.admitted(first);
  rig.drain();
  CHECK(rig.pool.cached() == 2);

  SECTION("the match ends before the newest token") {
    Request again = rig.request(0, 1);
    again.prompt = first.prompt;
    rig.admitted(again);
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].first_position == 8);
    CHECK(plan.rows[0].rows == 1);
    CHECK(plan.rows[0].sequence->cached_tokens == 8);
    CHECK(rig.scheduler.prefix_hit_tokens() == 8);
    CHECK(rig.scheduler.prefix_queried_tokens() == 18);
    rig.commit(plan);
    CHECK(rig.scheduler.prefill_tokens_computed() == 8);  // of the first request only
  }
  SECTION("a match of the whole text gives up its last block, which others may be reading") {
    Request again = rig.request(0, 1);
    again.prompt.assign(first.prompt.begin(), first.prompt.begin() + 8);
    const auto hashes = block_hashes(again.prompt, kBlockSize, kKey);
    const auto cached = rig.pool.match(hashes, again.prompt);
    REQUIRE(cached.size() == 2);
    rig.admitted(again);
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].first_position == 4);
    CHECK(plan.rows[0].rows == 4);
    const Sequence& s = *plan.rows[0].sequence;
    CHECK(s.blocks.at(0).id() == cached.at(0).id());
    CHECK(s.blocks.at(1).id() != cached.at(1).id());
    rig.commit(plan);
  }
}

TEST_CASE("generated text is published too: the next turn of a conversation finds it") {
  Rig rig;
  Request turn1 = rig.request(6, 7);
  rig.admitted(turn1);
  rig.drain();  // 6 + 7 tokens, the last one never computed: 12 = three full blocks
  Request turn2 = rig.request(0, 1);
  turn2.prompt = turn1.prompt;
  turn2.prompt.insert(turn2.prompt.end(), 7, 9);
  turn2.prompt.push_back(55);
  rig.admitted(turn2);
  const StepPlan plan = rig.plan();
  CHECK(plan.rows[0].first_position == 12);
  CHECK(plan.rows[0].rows == 2);
}

TEST_CASE("equal prompts that arrive together are computed once") {
  Rig rig(64, {.max_batch_tokens = 12});
  Request r = rig.request(17, 3);
  for (r.choice = 0; r.choice < 3; ++r.choice) rig.admitted(r);
  const RequestKey other = rig.admitted(rig.request(3, 1));

  rig.step();
  const StepPlan second =
      rig.plan();  // rows are left, but the choices step aside: the last full block is under way
  CHECK(keys_of(second) == Keys{{r.id, 0}, other});
  CHECK(rows_of(second) == Rows{5, 3});
  rig.commit(second);
  const StepPlan third = rig.plan();  // all but the newest token is published
  CHECK(keys_of(third) == Keys{{r.id, 0}, {r.id, 1}, {r.id, 2}});
  CHECK(rows_of(third) == Rows{1, 1, 1});
  rig.commit(third);
  CHECK(rig.scheduler.prefill_tokens_computed() == 16 + 2);
  CHECK(rig.scheduler.prefix_hit_tokens() == 2 * 16);
}

TEST_CASE("a sequence does not wait for a block that is cached already") {
  Rig rig;
  Request first = rig.request(8, 1);
  rig.admitted(first);
  rig.drain();
  first.id = {1, 1};
  rig.admitted(first);  // computes its last block again, which is published
  Request longer = first;
  longer.id = {1, 2};
  longer.prompt.push_back(7);
  rig.admitted(longer);
  const StepPlan plan = rig.plan();
  CHECK(keys_of(plan) == Keys{key_of(longer), key_of(first)});
  CHECK(rows_of(plan) == Rows{1, 4});
}

TEST_CASE("what waits for a running prefill's block starts itself when that prefill goes away") {
  Rig rig(64, {.max_batch_tokens = 8});
  Request r = rig.request(17, 1);
  const RequestKey runner = rig.admitted(r);
  rig.step();
  r.choice = 1;
  const RequestKey waiter = rig.admitted(r);
  SECTION("cancelled") { CHECK(rig.scheduler.cancel(runner) != nullptr); }
  SECTION("failed") {
    const StepPlan plan = rig.plan();
    CHECK(keys_of(plan) == Keys{runner});
    StepResult result;
    result.rows.resize(1);
    result.rows[0].error = make_error(ErrorCode::internal, "broken");
    CHECK(rig.scheduler.commit(plan, result, rig.now).ended.size() == 1);
  }
  const StepPlan plan = rig.plan();
  CHECK(keys_of(plan) == Keys{waiter});
  CHECK(plan.rows[0].first_position == 8);  // what the runner had finished is used
}

TEST_CASE("a sequence that finds no room stops the line: it is not overtaken by smaller ones") {
  Rig rig(8);
  Request large = rig.request(8, 1);
  rig.admitted(large);
  rig.drain();                       // two blocks of its text are cached
  rig.admitted(rig.request(16, 8));  // four blocks, then a fifth
  rig.step();
  large.id = {1, 1};
  large.prompt.resize(20);
  rig.admitted(large);  // five blocks: not now
  rig.admitted(rig.request(2, 2));
  rig.step();
  CHECK(rig.scheduler.running() == 1);
  CHECK(rig.pool.in_use() == 5);  // the one that waits pins nothing
  CHECK(rig.drain().size() == 3);
}

TEST_CASE("who starts leaves each running sequence a block to grow into") {
  Rig rig(6);
  rig.admitted(rig.request(9, 8));  // three blocks
  rig.step();
  const RequestKey tight = rig.admitted(rig.request(12, 8));  // would fit exactly
  rig.step();
  CHECK(rig.scheduler.running() == 1);
  CHECK(rig.scheduler.cancel(tight) != nullptr);
  rig.admitted(rig.request(4, 2));
  rig.step();
  CHECK(rig.scheduler.running() == 2);
}

TEST_CASE("what could never run is refused with the reason") {
  Rig rig(4, {.max_waiting = 1, .max_context = 100});
  const auto code = [&](const Request& r) {
    const auto result = rig.admit(r);
    return result ? std::string("admitted") : std::string(to_string(result.error().code));
  };
  CHECK(code(rig.request(0)) == to_string(ErrorCode::invalid_argument));
  CHECK(code(rig.request(3, std::numeric_limits<std::int32_t>::min())) ==
        to_string(ErrorCode::invalid_argument));
  CHECK(code(rig.request(3, 0)) == to_string(ErrorCode::invalid_argument));
  CHECK(code(rig.request(100)) == to_string(ErrorCode::too_large));

  const auto large = rig.admit(rig.request(10, 8));  // 17 computed tokens, five blocks
  REQUIRE_FALSE(large);
  CHECK(large.error().code == ErrorCode::too_large);
  CHECK(large.error().message.find("need 5 KV blocks; 4 are available") != std::string::npos);
  CHECK(code(rig.request(10, std::numeric_limits<std::int32_t>::max())) == to_string(ErrorCode::too_large));

  CHECK(code(rig.request(10, 7)) == "admitted");  // 16 computed tokens fit exactly
  CHECK(code(rig.request(1)) == to_string(ErrorCode::overloaded));
  CHECK(rig.drain().size() == 1);
}

TEST_CASE("max_tokens beyond the context is no reason to refuse where the context fits the pool") {
  Rig rig(4, {.max_context = 16});
  REQUIRE(rig.admit(rig.request(10, 1'000'000)));
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].by_length);
  CHECK(ended[0].sequence->size() == 16);
}

TEST_CASE("what is to be embedded may fill the context, for no answer follows") {
  Rig rig(4, {.max_context = 16});
  Request whole = rig.request(16, 1);
  CHECK_FALSE(rig.admit(whole));
  whole.embed = true;
  CHECK(rig.admit(whole));
  Request more = rig.request(17, 1);
  more.embed = true;
  const auto refused = rig.admit(more);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::too_large);
  CHECK(refused.error().message == "the prompt has 17 tokens; the context holds 16");
}

TEST_CASE("a refused sequence gives its blocks back") {
  Rig rig(4, {.max_waiting = 0});
  auto s = rig.sequence(rig.request(4));
  s->blocks.append(*rig.pool.allocate(1));
  s->computed = 3;
  CHECK_FALSE(rig.scheduler.admit(std::move(s)));
  CHECK(rig.pool.free() == 4);
}

// As after a handoff: the prompt's KV cache has arrived, the first token has gone to the client.
std::unique_ptr<Sequence> received(Rig& rig, Request r, std::int32_t computed) {
  r.output = {9};
  r.phase = Phase::decode;
  auto s = rig.sequence(r);
  REQUIRE(rig.pool.extend(s->blocks, computed));
  s->computed = computed;
  return s;
}

TEST_CASE("received KV cache is continued: no prefill, no recompute, no look-up") {
  Rig rig;
  const Request r = rig.request(10, 4);
  REQUIRE(rig.scheduler.admit(received(rig, r, 10)));
  CHECK(rig.scheduler.waiting_prefill_tokens() == 0);
  CHECK(rig.pool.published().size() == 2);  // others may hit the received blocks at once
  const StepPlan plan = rig.plan();
  CHECK(plan.rows[0].first_position == 10);
  CHECK(plan.rows[0].rows == 1);
  CHECK(plan.rows[0].sample);
  CHECK_FALSE(plan.rows[0].sequence->in_prefill());
  rig.commit(plan);
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].sequence->request.output.size() == 4);
  CHECK(ended[0].sequence->cached_tokens == 0);
  CHECK(rig.scheduler.prefill_tokens_computed() == 0);
  CHECK(rig.scheduler.recomputed_tokens() == 0);
  CHECK(rig.scheduler.prefix_queried_tokens() == 0);
}

TEST_CASE("a continuation computes what its cache lacks and samples the next index") {
  Rig rig;
  SECTION("a part has arrived") {
    REQUIRE(rig.scheduler.admit(received(rig, rig.request(10, 4), 6)));
    const StepPlan plan = rig.plan();
    CHECK(plan.rows[0].first_position == 6);
    CHECK(plan.rows[0].rows == 5);
    rig.commit(plan);
    CHECK(rig.scheduler.prefill_tokens_computed() == 4);
  }
  SECTION("nothing has arrived") {
    Request r = rig.request(10, 4);
    r.output = {9};
    r.phase = Phase::decode;
    rig.admitted(r);
    const StepPlan plan = rig.plan();
    CHECK(rows_of(plan) == Rows{11});
    rig.commit(plan);
    CHECK(rig.scheduler.prefill_tokens_computed() == 10);
    CHECK(rig.scheduler.recomputed_tokens() == 0);  // nothing was preempted here
  }
  SECTION("blocks without content are given back") {
    auto s = received(rig, rig.request(10, 4), 8);
    s->computed = 0;
    REQUIRE(rig.scheduler.admit(std::move(s)));
    CHECK(rig.pool.in_use() == 0);
    CHECK(rows_of(rig.plan()) == Rows{11});
  }
  SECTION("everything has arrived, the newest token too: its logits need one row, never in a full block") {
    auto partial = received(rig, rig.request(5, 4), 6);
    REQUIRE(rig.scheduler.admit(std::move(partial)));
    auto full = received(rig, rig.request(7, 4), 8);
    const BlockRef read_by_others = full->blocks.at(1).share();
    REQUIRE(rig.scheduler.admit(std::move(full)));
    const StepPlan plan = rig.plan();
    REQUIRE(plan.rows.size() == 2);
    CHECK(plan.rows[0].first_position == 5);
    CHECK(plan.rows[1].first_position == 4);
    CHECK(plan.rows[1].sequence->blocks.at(1).id() != read_by_others.id());
  }
}

TEST_CASE("a decode that comes with its KV cache starts at once, beside a prefill that fills every step") {
  Rig rig(64, {.max_batch_tokens = 8});
  rig.admitted(rig.request(40, 4));
  rig.step();
  REQUIRE(rig.scheduler.admit(received(rig, rig.request(12, 4), 12)));
  const StepPlan plan = rig.plan();
  CHECK(rows_of(plan) == Rows{1, 7});
  rig.commit(plan);
  CHECK(rig.drain().size() == 2);
}

TEST_CASE("received KV cache that waits gives way when the running ones could not go on otherwise") {
  Rig rig(8, {.max_sequences = 1});
  rig.admitted(rig.request(8, 20));
  rig.step();
  REQUIRE(rig.scheduler.admit(received(rig, rig.request(12, 4), 12)));
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 2);
  CHECK(ended[0].sequence->preemptions == 0);
  CHECK(ended[1].sequence->preemptions == 1);
  CHECK(ended[1].sequence->request.output == std::vector<TokenId>{9, 9, 9, 9});
}

TEST_CASE("where nothing runs, waiting received KV cache gives way to the first in line") {
  Rig rig(4);
  Request urgent = rig.request(9, 4);
  urgent.priority = 1;
  REQUIRE(rig.scheduler.admit(received(rig, rig.request(12, 2), 12)));
  rig.admitted(urgent);
  CHECK(keys_of(rig.plan()) == Keys{key_of(urgent)});
  CHECK(rig.drain().size() == 2);
}

}  // namespace
}  // namespace baton::test
