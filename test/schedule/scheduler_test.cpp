// Scheduler: the rules by which a plan is made: rows, chunks, priority, preemption, deadlines, cancel.
#include "baton/schedule/scheduler.hpp"

#include <algorithm>

#include "schedule/scheduler_rig.hpp"
#include "support/catch.hpp"

namespace baton::test {
namespace {

TEST_CASE("a long prompt is computed in chunks and sampled at its end") {
  Rig rig(64, {.max_batch_tokens = 8});
  rig.admitted(rig.request(20, 2));
  for (const std::int32_t first : {0, 8}) {
    const StepPlan plan = rig.plan();
    REQUIRE(plan.rows.size() == 1);
    CHECK(plan.rows[0].first_position == first);
    CHECK(plan.rows[0].rows == 8);
    CHECK_FALSE(plan.rows[0].sample);
    CHECK(rig.commit(plan).sampled.empty());
  }
  const StepPlan last = rig.plan();
  CHECK(rows_of(last) == Rows{4});
  CHECK(last.rows[0].sample);
  CHECK(rig.commit(last).sampled.size() == 1);
  CHECK(rig.pool.in_use() == 5);  // 20 tokens; the 21st is not computed yet
  CHECK(rig.scheduler.prefill_tokens_computed() == 19);
}

TEST_CASE("waiting sequences start by priority, then arrival, as far as seats go") {
  Rig rig(64, {.max_sequences = 3});
  Request late = rig.request(4), early = rig.request(4), urgent = rig.request(4), never = rig.request(4);
  late.arrival = rig.now + milliseconds(5);
  never.arrival = rig.now + milliseconds(6);
  urgent.arrival = rig.now + milliseconds(9);
  urgent.priority = 1;
  for (const Request* r : {&never, &late, &early, &urgent}) rig.admitted(*r);
  CHECK(keys_of(rig.plan()) == Keys{key_of(urgent), key_of(early), key_of(late)});
  CHECK(rig.scheduler.waiting() == 1);
  CHECK(rig.scheduler.running() == 3);
}

TEST_CASE("out of blocks, the youngest of the lowest priority is preempted and computed again later") {
  Rig rig(8, {.max_sequences = 8});
  Request a = rig.request(7, 20), c = rig.request(7, 20), urgent = rig.request(7, 4);
  urgent.priority = 1;
  for (const Request* r : {&a, &c, &urgent}) rig.admitted(*r);
  while (rig.scheduler.preemptions() == 0) rig.step();
  CHECK(rig.scheduler.running() == 2);
  CHECK(rig.scheduler.waiting() == 1);
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 3);
  for (const EndedSequence& e : ended) {
    const Sequence& s = *e.sequence;
    const bool victim = key_of(s.request) == key_of(c);
    CHECK((s.preemptions > 0) == victim);
    CHECK((s.recomputed_tokens > 0) == victim);
    CHECK(s.request.output.size() == static_cast<std::size_t>(s.request.stop.max_tokens));
    if (victim) CHECK(static_cast<std::uint64_t>(s.recomputed_tokens) == rig.scheduler.recomputed_tokens());
  }
}

TEST_CASE("a preempted sequence finds what is still cached of its blocks") {
  Rig rig(8, {.max_sequences = 2});
  rig.admitted(rig.request(7, 20));
  rig.admitted(rig.request(7, 20));
  while (rig.scheduler.preemptions() == 0) rig.step();
  CHECK(rig.pool.cached() > 0);
  const auto gone = rig.scheduler.cancel({{0, 1}, 0});  // its room comes back at once
  REQUIRE(gone != nullptr);
  gone->blocks.clear();
  const StepPlan plan = rig.plan();
  REQUIRE(plan.rows.size() == 1);
  CHECK(plan.rows[0].first_position >= 2 * kBlockSize);
  CHECK(plan.rows[0].sequence->cached_tokens == 0);  // said of the first admission, not of this one
  CHECK(rig.scheduler.prefix_hit_tokens() == 0);
  rig.commit(plan);
  CHECK(rig.scheduler.recomputed_tokens() <= kBlockSize);  // the tail at most
}

TEST_CASE("the oldest running sequence is never preempted, whatever its priority") {
  Rig rig(8);
  Request oldest = rig.request(7, 24);
  rig.admitted(oldest);
  rig.step();
  Request urgent = rig.request(7, 24);
  urgent.priority = 5;
  rig.admitted(urgent);
  for (const EndedSequence& e : rig.drain()) {
    CHECK((e.sequence->preemptions > 0) == (key_of(e.sequence->request) == key_of(urgent)));
  }
}

TEST_CASE("a preempted sequence goes before new ones, and is not listed as admitted twice") {
  Rig rig(8);
  rig.admitted(rig.request(7, 20));
  const RequestKey second = rig.admitted(rig.request(7, 20));
  std::size_t admitted = 0;
  while (rig.scheduler.preemptions() == 0) {
    const StepPlan plan = rig.plan();
    admitted += plan.admitted.size();
    rig.commit(plan);
  }
  Request fresh = rig.request(1, 2);
  fresh.arrival = TimePoint{} - milliseconds(1);
  rig.admitted(fresh);
  bool second_is_back = false;
  while (rig.scheduler.running() + rig.scheduler.waiting() > 0) {
    const StepPlan plan = rig.plan();
    const Keys keys = keys_of(plan);
    second_is_back = second_is_back || std::ranges::find(keys, second) != keys.end();
    CHECK((second_is_back || std::ranges::find(keys, key_of(fresh)) == keys.end()));
    admitted += plan.admitted.size();
    rig.commit(plan);
  }
  CHECK(admitted == 3);
}

TEST_CASE("blocks pinned from outside only delay") {
  Rig rig(4);
  auto pins = rig.pool.allocate(3);
  rig.admitted(rig.request(4, 6));
  rig.step();
  CHECK(rig.scheduler.running() == 1);
  CHECK(rig.plan().empty());  // the second block is not to be had
  CHECK(rig.scheduler.running() == 1);
  pins->clear();
  CHECK(rig.drain().size() == 1);
  CHECK(rig.scheduler.preemptions() == 0);
}

TEST_CASE("past its deadline a sequence leaves through the plan, waiting or running, without blocks") {
  Rig rig(64, {.max_sequences = 1});
  Request running = rig.request(4), waiting = rig.request(4), patient = rig.request(4);
  running.deadline = waiting.deadline = rig.now + milliseconds(2);
  for (const Request* r : {&running, &waiting, &patient}) rig.admitted(*r);
  rig.step();
  CHECK(rig.pool.in_use() == 1);
  const StepPlan plan = rig.plan();
  REQUIRE(plan.expired.size() == 2);
  for (const auto& s : plan.expired) {
    CHECK(s->blocks.empty());
    CHECK(s->finished == rig.now);
  }
  CHECK(plan.expired[0]->request.output.size() == 1);
  CHECK(keys_of(plan) == Keys{key_of(patient)});
}

TEST_CASE("cancel removes a sequence wherever it is") {
  Rig rig(64, {.max_sequences = 1});
  const RequestKey running = rig.admitted(rig.request(4)), waiting = rig.admitted(rig.request(6));
  rig.admitted(rig.request(4));
  rig.step();
  CHECK(rig.scheduler.waiting_prefill_tokens() == 5 + 3);
  CHECK(key_of(rig.scheduler.cancel(waiting)->request) == waiting);
  CHECK(rig.scheduler.cancel(waiting) == nullptr);
  const auto removed = rig.scheduler.cancel(running);
  REQUIRE(removed != nullptr);
  CHECK(rig.pool.in_use() == 1);  // pinned until the caller lets go
  CHECK(rig.scheduler.running() == 0);
  CHECK(rig.scheduler.cancel_all().size() == 1);
  CHECK(rig.scheduler.waiting() == 0);
}

TEST_CASE("a plan that was never committed is made again") {
  Rig rig;
  rig.admitted(rig.request(6, 2));
  const StepPlan lost = rig.plan();
  CHECK(rows_of(lost) == Rows{6});
  const StepPlan again = rig.plan();
  CHECK(rows_of(again) == Rows{6});
  CHECK(again.rows[0].first_position == 0);
  CHECK(rig.pool.in_use() == 2);
  rig.commit(again);
  CHECK(rig.drain().size() == 1);
}

TEST_CASE("roles have names") {
  for (const Role role : {Role::mixed, Role::prefill, Role::decode})
    CHECK(parse_role(to_string(role)) == role);
  CHECK_FALSE(parse_role("Mixed"));
}

}  // namespace
}  // namespace baton::test
