// Scheduler: every rule of its policy by itself. The executor here samples token 9 unless told otherwise.
#include "baton/schedule/scheduler.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "baton/schedule/stop_rules.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using std::chrono::milliseconds;

constexpr std::int32_t kBlockSize = 4;
constexpr TokenId kEos = 2;
const BlockHashKey kKey = make_block_hash_key("secret", {1, 2}, "f32", "");

std::vector<TokenId> text(std::int32_t n, TokenId first = 100) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

struct Bench {
  explicit Bench(std::int32_t blocks = 64, SchedulerLimits limits = {})
      : pool(blocks, kBlockSize), scheduler(limits, pool) {}

  // A request of its own text unless `prompt` is given; ids count from 1.
  Request request(std::int32_t prompt_size, std::int32_t max_tokens = 8) {
    Request r;
    r.id = {0, ++last_id};
    r.prompt = text(prompt_size, static_cast<TokenId>(last_id * 1000));
    r.stop.max_tokens = max_tokens;
    r.stop.eos_token_ids = {kEos};
    r.arrival = now;
    return r;
  }
  std::unique_ptr<Sequence> sequence(const Request& r) const {
    return make_sequence(r, kBlockSize, kKey, now);
  }
  Result<void> admit(const Request& r) { return scheduler.admit(sequence(r)); }
  RequestKey admitted(const Request& r) {
    REQUIRE(admit(r));
    return key_of(r);
  }

  StepPlan plan() {
    now += milliseconds(1);
    return scheduler.plan(now);
  }
  StepOutcome commit(const StepPlan& p, TokenId token = 9) {
    StepResult result;
    for (const PlannedRows& rows : p.rows) {
      RowResult row;
      if (rows.sample) row.token = SampledToken{.token = token, .top = {}};
      result.rows.push_back(std::move(row));
    }
    return scheduler.commit(p, result, now);
  }
  StepOutcome step(TokenId token = 9) { return commit(plan(), token); }
  // Steps until nothing is left; the ended ones in order.
  std::vector<EndedSequence> drain() {
    std::vector<EndedSequence> all;
    for (int i = 0; i < 1000 && scheduler.running() + scheduler.waiting() > 0; ++i) {
      StepOutcome outcome = step();
      for (EndedSequence& e : outcome.ended) release_tail_first(e.sequence->blocks);
      std::ranges::move(outcome.ended, std::back_inserter(all));
    }
    REQUIRE(scheduler.running() + scheduler.waiting() == 0);
    return all;
  }

  TimePoint now{};
  std::uint64_t last_id = 0;
  BlockPool pool;
  Scheduler scheduler;
};

std::vector<std::int32_t> rows_of(const StepPlan& plan) {
  std::vector<std::int32_t> rows;
  for (const PlannedRows& r : plan.rows) rows.push_back(r.rows);
  return rows;
}

std::vector<RequestKey> keys_of(const StepPlan& plan) {
  std::vector<RequestKey> keys;
  for (const PlannedRows& r : plan.rows) keys.push_back(key_of(r.sequence->request));
  return keys;
}

using Rows = std::vector<std::int32_t>;
using Keys = std::vector<RequestKey>;

TEST_CASE("a long prompt is computed in chunks and sampled at its end") {
  Bench b(64, {.max_batch_tokens = 8});
  b.admitted(b.request(20, 2));
  for (const std::int32_t first : {0, 8}) {
    const StepPlan plan = b.plan();
    REQUIRE(plan.rows.size() == 1);
    CHECK(plan.rows[0].first_position == first);
    CHECK(plan.rows[0].rows == 8);
    CHECK_FALSE(plan.rows[0].sample);
    CHECK(b.commit(plan).sampled.empty());
  }
  const StepPlan last = b.plan();
  CHECK(rows_of(last) == Rows{4});
  CHECK(last.rows[0].sample);
  CHECK(b.commit(last).sampled.size() == 1);
  CHECK(b.pool.in_use() == 5);  // 20 tokens; the 21st is not computed yet
  CHECK(b.scheduler.prefill_tokens_computed() == 19);
}

TEST_CASE(
    "decodes get their row first, then running prefills go on, then new ones start, within the budget") {
  Bench b(64, {.max_batch_tokens = 8});
  const RequestKey decoding = b.admitted(b.request(4));
  b.step();
  const RequestKey prefilling = b.admitted(b.request(12));
  CHECK(rows_of(b.plan()) == Rows{1, 7});
  b.step();
  const RequestKey fresh = b.admitted(b.request(12));
  const StepPlan plan = b.plan();
  CHECK(keys_of(plan) == Keys{decoding, prefilling, fresh});
  CHECK(rows_of(plan) == Rows{1, 5, 2});
  CHECK(plan.tokens == 8);
  CHECK(plan.admitted.size() == 1);
}

TEST_CASE("waiting sequences start by priority, then arrival, as far as seats go") {
  Bench b(64, {.max_sequences = 3});
  Request late = b.request(4), early = b.request(4), urgent = b.request(4), never = b.request(4);
  late.arrival = b.now + milliseconds(5);
  never.arrival = b.now + milliseconds(6);
  urgent.arrival = b.now + milliseconds(9);
  urgent.priority = 1;
  for (const Request* r : {&never, &late, &early, &urgent}) b.admitted(*r);
  CHECK(keys_of(b.plan()) == Keys{key_of(urgent), key_of(early), key_of(late)});
  CHECK(b.scheduler.waiting() == 1);
  CHECK(b.scheduler.running() == 3);
}

TEST_CASE("a cached prefix is not computed again, except for the block of the newest token") {
  Bench b;
  Request first = b.request(9, 1);
  b.admitted(first);
  b.drain();
  CHECK(b.pool.cached() == 2);

  SECTION("the match ends before the newest token") {
    Request again = b.request(0, 1);
    again.prompt = first.prompt;
    b.admitted(again);
    const StepPlan plan = b.plan();
    CHECK(plan.rows[0].first_position == 8);
    CHECK(plan.rows[0].rows == 1);
    CHECK(plan.rows[0].sequence->cached_tokens == 8);
    CHECK(b.scheduler.prefix_hit_tokens() == 8);
    CHECK(b.scheduler.prefix_queried_tokens() == 18);
    b.commit(plan);
    CHECK(b.scheduler.prefill_tokens_computed() == 8);  // of the first request only
  }
  SECTION("a match of the whole text gives up its last block, which others may be reading") {
    Request again = b.request(0, 1);
    again.prompt.assign(first.prompt.begin(), first.prompt.begin() + 8);
    const auto hashes = block_hashes(again.prompt, kBlockSize, kKey);
    const auto cached = b.pool.match(hashes, again.prompt);
    REQUIRE(cached.size() == 2);
    b.admitted(again);
    const StepPlan plan = b.plan();
    CHECK(plan.rows[0].first_position == 4);
    CHECK(plan.rows[0].rows == 4);
    const Sequence& s = *plan.rows[0].sequence;
    CHECK(s.blocks[0].id() == cached[0].id());
    CHECK(s.blocks[1].id() != cached[1].id());
    b.commit(plan);
  }
}

TEST_CASE("generated text is published too: the next turn of a conversation finds it") {
  Bench b;
  Request turn1 = b.request(6, 7);
  b.admitted(turn1);
  b.drain();  // 6 + 7 tokens, the last one never computed: 12 = three full blocks
  Request turn2 = b.request(0, 1);
  turn2.prompt = turn1.prompt;
  turn2.prompt.insert(turn2.prompt.end(), 7, 9);
  turn2.prompt.push_back(55);
  b.admitted(turn2);
  const StepPlan plan = b.plan();
  CHECK(plan.rows[0].first_position == 12);
  CHECK(plan.rows[0].rows == 2);
}

TEST_CASE("equal prompts that arrive together are computed once") {
  Bench b(64, {.max_batch_tokens = 8});
  Request r = b.request(17, 1);
  for (r.choice = 0; r.choice < 3; ++r.choice) b.admitted(r);
  Request other = b.request(3, 1);
  b.admitted(other);

  const StepPlan plan = b.plan();
  CHECK(rows_of(plan) == Rows{8});  // the two others step aside; the budget is used up
  b.commit(plan);
  CHECK(b.scheduler.running() == 1);
  b.step();
  const StepPlan third = b.plan();  // the last block is published: the choices need one row each
  CHECK(rows_of(third) == Rows{1, 1, 1, 3});
  b.commit(third);
  CHECK(b.scheduler.prefill_tokens_computed() == 16 + 2);
  CHECK(b.scheduler.prefix_hit_tokens() == 2 * 16);
}

TEST_CASE("what waits for a running prefill's block starts itself when that prefill goes away") {
  Bench b(64, {.max_batch_tokens = 8});
  Request r = b.request(17, 1);
  const RequestKey runner = b.admitted(r);
  b.step();
  r.choice = 1;
  const RequestKey waiter = b.admitted(r);
  SECTION("cancelled") { CHECK(b.scheduler.cancel(runner) != nullptr); }
  SECTION("failed") {
    const StepPlan plan = b.plan();
    CHECK(keys_of(plan) == Keys{runner});
    StepResult result;
    result.rows.resize(1);
    result.rows[0].error = make_error(ErrorCode::internal, "broken");
    CHECK(b.scheduler.commit(plan, result, b.now).ended.size() == 1);
  }
  const StepPlan plan = b.plan();
  CHECK(keys_of(plan) == Keys{waiter});
  CHECK(plan.rows[0].first_position == 8);  // what the runner had finished is used
}

TEST_CASE("a sequence that finds no room stops the line: it is not overtaken by smaller ones") {
  Bench b(8);
  b.admitted(b.request(16, 8));  // four blocks
  b.step();
  b.admitted(b.request(20, 4));  // five blocks: not now
  b.admitted(b.request(2, 2));
  b.step();
  CHECK(b.scheduler.running() == 1);
  CHECK(b.drain().size() == 3);
}

TEST_CASE("out of blocks, the youngest of the lowest priority is preempted and computed again later") {
  Bench b(8, {.max_sequences = 8});
  Request a = b.request(7, 20), c = b.request(7, 20), urgent = b.request(7, 4);
  urgent.priority = 1;
  for (const Request* r : {&a, &c, &urgent}) b.admitted(*r);
  while (b.scheduler.preemptions() == 0) b.step();
  CHECK(b.scheduler.running() == 2);
  CHECK(b.scheduler.waiting() == 1);
  const auto ended = b.drain();
  REQUIRE(ended.size() == 3);
  for (const EndedSequence& e : ended) {
    const Sequence& s = *e.sequence;
    const bool victim = key_of(s.request) == key_of(c);
    CHECK((s.preemptions > 0) == victim);
    CHECK((s.recomputed_tokens > 0) == victim);
    CHECK(s.request.output.size() == static_cast<std::size_t>(s.request.stop.max_tokens));
    if (victim) CHECK(static_cast<std::uint64_t>(s.recomputed_tokens) == b.scheduler.recomputed_tokens());
  }
}

TEST_CASE("a preempted sequence finds what is still cached of its blocks") {
  Bench b(8, {.max_sequences = 2});
  b.admitted(b.request(7, 20));
  b.admitted(b.request(7, 20));
  while (b.scheduler.preemptions() == 0) b.step();
  CHECK(b.pool.cached() > 0);
  const auto gone = b.scheduler.cancel({{0, 1}, 0});  // its room comes back at once
  REQUIRE(gone != nullptr);
  release_tail_first(gone->blocks);
  const StepPlan plan = b.plan();
  REQUIRE(plan.rows.size() == 1);
  CHECK(plan.rows[0].first_position >= 2 * kBlockSize);
  CHECK(plan.rows[0].sequence->cached_tokens == 0);  // said of the first admission, not of this one
  CHECK(b.scheduler.prefix_hit_tokens() == 0);
  b.commit(plan);
  CHECK(b.scheduler.recomputed_tokens() <= kBlockSize);  // the tail at most
}

TEST_CASE("the oldest running sequence is never preempted, whatever its priority") {
  Bench b(8);
  Request oldest = b.request(7, 24);
  b.admitted(oldest);
  b.step();
  Request urgent = b.request(7, 24);
  urgent.priority = 5;
  b.admitted(urgent);
  for (const EndedSequence& e : b.drain()) {
    CHECK((e.sequence->preemptions > 0) == (key_of(e.sequence->request) == key_of(urgent)));
  }
}

TEST_CASE("a preempted sequence goes before new ones, and is not listed as admitted twice") {
  Bench b(8);
  b.admitted(b.request(7, 20));
  const RequestKey second = b.admitted(b.request(7, 20));
  std::size_t admitted = 0;
  while (b.scheduler.preemptions() == 0) {
    const StepPlan plan = b.plan();
    admitted += plan.admitted.size();
    b.commit(plan);
  }
  Request fresh = b.request(1, 2);
  fresh.arrival = TimePoint{} - milliseconds(1);
  b.admitted(fresh);
  bool second_is_back = false;
  while (b.scheduler.running() + b.scheduler.waiting() > 0) {
    const StepPlan plan = b.plan();
    const Keys keys = keys_of(plan);
    second_is_back = second_is_back || std::ranges::find(keys, second) != keys.end();
    CHECK((second_is_back || std::ranges::find(keys, key_of(fresh)) == keys.end()));
    admitted += plan.admitted.size();
    b.commit(plan);
  }
  CHECK(admitted == 3);
}

TEST_CASE("what could never run is refused with the reason") {
  Bench b(4, {.max_waiting = 1, .max_context = 100});
  const auto code = [&](const Request& r) {
    const auto result = b.admit(r);
    return result ? std::string("admitted") : std::string(to_string(result.error().code));
  };
  CHECK(code(b.request(0)) == to_string(ErrorCode::invalid_argument));
  CHECK(code(b.request(3, 0)) == to_string(ErrorCode::invalid_argument));
  CHECK(code(b.request(100)) == to_string(ErrorCode::too_large));

  const auto large = b.admit(b.request(10, 8));  // 17 computed tokens, five blocks
  REQUIRE_FALSE(large);
  CHECK(large.error().code == ErrorCode::too_large);
  CHECK(large.error().message.find("need 5 KV blocks; 4 are available") != std::string::npos);
  CHECK(code(b.request(10, std::numeric_limits<std::int32_t>::max())) == to_string(ErrorCode::too_large));

  CHECK(code(b.request(10, 7)) == "admitted");  // 16 computed tokens fit exactly
  CHECK(code(b.request(1)) == to_string(ErrorCode::overloaded));
  CHECK(b.drain().size() == 1);
}

TEST_CASE("max_tokens beyond the context is no reason to refuse where the context fits the pool") {
  Bench b(4, {.max_context = 16});
  REQUIRE(b.admit(b.request(10, 1'000'000)));
  const auto ended = b.drain();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].by_length);
  CHECK(ended[0].sequence->size() == 16);
}

TEST_CASE("a refused sequence gives its blocks back") {
  Bench b(4, {.max_waiting = 0});
  auto s = b.sequence(b.request(4));
  s->blocks = std::move(*b.pool.allocate(1));
  s->computed = 3;
  CHECK_FALSE(b.scheduler.admit(std::move(s)));
  CHECK(b.pool.free() == 4);
}

// As after a handoff: the prompt's KV cache has arrived, the first token has gone to the client.
std::unique_ptr<Sequence> received(Bench& b, Request r, std::int32_t computed) {
  r.output = {9};
  r.phase = Phase::decode;
  auto s = b.sequence(r);
  s->blocks = std::move(*b.pool.allocate(static_cast<std::size_t>((computed + kBlockSize - 1) / kBlockSize)));
  s->computed = computed;
  return s;
}

TEST_CASE("received KV cache is continued: no prefill, no recompute, no look-up") {
  Bench b;
  const Request r = b.request(10, 4);
  REQUIRE(b.scheduler.admit(received(b, r, 10)));
  CHECK(b.scheduler.waiting_prefill_tokens() == 0);
  CHECK(b.pool.published().size() == 2);  // others may hit the received blocks at once
  const StepPlan plan = b.plan();
  CHECK(plan.rows[0].first_position == 10);
  CHECK(plan.rows[0].rows == 1);
  CHECK(plan.rows[0].sample);
  CHECK_FALSE(plan.rows[0].sequence->in_prefill());
  b.commit(plan);
  const auto ended = b.drain();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].sequence->request.output.size() == 4);
  CHECK(ended[0].sequence->cached_tokens == 0);
  CHECK(b.scheduler.prefill_tokens_computed() == 0);
  CHECK(b.scheduler.recomputed_tokens() == 0);
  CHECK(b.scheduler.prefix_queried_tokens() == 0);
}

TEST_CASE("a continuation computes what its cache lacks and samples the next index") {
  Bench b;
  SECTION("a part has arrived") {
    REQUIRE(b.scheduler.admit(received(b, b.request(10, 4), 6)));
    const StepPlan plan = b.plan();
    CHECK(plan.rows[0].first_position == 6);
    CHECK(plan.rows[0].rows == 5);
    b.commit(plan);
    CHECK(b.scheduler.prefill_tokens_computed() == 4);
  }
  SECTION("nothing has arrived") {
    Request r = b.request(10, 4);
    r.output = {9};
    r.phase = Phase::decode;
    b.admitted(r);
    const StepPlan plan = b.plan();
    CHECK(rows_of(plan) == Rows{11});
    b.commit(plan);
    CHECK(b.scheduler.prefill_tokens_computed() == 10);
    CHECK(b.scheduler.recomputed_tokens() == 0);  // nothing was preempted here
  }
  SECTION("blocks without content are given back") {
    auto s = received(b, b.request(10, 4), 8);
    s->computed = 0;
    REQUIRE(b.scheduler.admit(std::move(s)));
    CHECK(b.pool.in_use() == 0);
    CHECK(rows_of(b.plan()) == Rows{11});
  }
  SECTION("everything has arrived, the newest token too: its logits need one row, never in a full block") {
    auto partial = received(b, b.request(5, 4), 6);
    REQUIRE(b.scheduler.admit(std::move(partial)));
    auto full = received(b, b.request(7, 4), 8);
    const BlockRef read_by_others = full->blocks[1].share();
    REQUIRE(b.scheduler.admit(std::move(full)));
    const StepPlan plan = b.plan();
    REQUIRE(plan.rows.size() == 2);
    CHECK(plan.rows[0].first_position == 5);
    CHECK(plan.rows[1].first_position == 4);
    CHECK(plan.rows[1].sequence->blocks[1].id() != read_by_others.id());
  }
}

TEST_CASE("received KV cache that waits gives way when the running ones could not go on otherwise") {
  Bench b(8, {.max_sequences = 1});
  b.admitted(b.request(8, 20));
  b.step();
  REQUIRE(b.scheduler.admit(received(b, b.request(12, 4), 12)));
  const auto ended = b.drain();
  REQUIRE(ended.size() == 2);
  CHECK(ended[0].sequence->preemptions == 0);
  CHECK(ended[1].sequence->preemptions == 1);
  CHECK(ended[1].sequence->request.output == std::vector<TokenId>{9, 9, 9, 9});
}

TEST_CASE("where nothing runs, waiting received KV cache gives way to the first in line") {
  Bench b(4);
  Request urgent = b.request(9, 4);
  urgent.priority = 1;
  REQUIRE(b.scheduler.admit(received(b, b.request(12, 2), 12)));
  b.admitted(urgent);
  CHECK(keys_of(b.plan()) == Keys{key_of(urgent)});
  CHECK(b.drain().size() == 2);
}

TEST_CASE("blocks pinned from outside only delay") {
  Bench b(4);
  auto pins = b.pool.allocate(3);
  b.admitted(b.request(4, 6));
  b.step();
  CHECK(b.scheduler.running() == 1);
  CHECK(b.plan().empty());  // the second block is not to be had
  CHECK(b.scheduler.running() == 1);
  pins->clear();
  CHECK(b.drain().size() == 1);
  CHECK(b.scheduler.preemptions() == 0);
}

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

TEST_CASE("a prefill ends after its first token and is handed off unless that token ends the request") {
  Bench b;
  Request r = b.request(5, 4);
  r.phase = Phase::prefill;
  SECTION("goes on elsewhere") {
    b.admitted(r);
    StepOutcome outcome = b.step();
    REQUIRE(outcome.ended.size() == 1);
    CHECK(outcome.ended[0].handed_off);
    CHECK_FALSE(outcome.ended[0].by_length);
    CHECK(outcome.ended[0].sequence->blocks.size() == 2);  // still pinned, for the transfer
    CHECK(outcome.ended[0].sequence->computed == 5);
    CHECK(outcome.sampled == std::vector<const Sequence*>{outcome.ended[0].sequence.get()});
    CHECK(b.pool.in_use() == 2);
    outcome.ended.clear();
    CHECK(b.pool.in_use() == 0);
  }
  SECTION("EOS at once") {
    b.admitted(r);
    const StepOutcome outcome = b.step(kEos);
    REQUIRE(outcome.ended.size() == 1);
    CHECK_FALSE(outcome.ended[0].handed_off);
    CHECK_FALSE(outcome.ended[0].by_length);
  }
  SECTION("one token was all it wanted") {
    r.stop.max_tokens = 1;
    b.admitted(r);
    const StepOutcome outcome = b.step();
    REQUIRE(outcome.ended.size() == 1);
    CHECK_FALSE(outcome.ended[0].handed_off);
    CHECK(outcome.ended[0].by_length);
  }
}

TEST_CASE("an error of a row ends its sequence only, and publishes nothing of it") {
  Bench b;
  const RequestKey good = b.admitted(b.request(8)), bad = b.admitted(b.request(8));
  const StepPlan plan = b.plan();
  REQUIRE(keys_of(plan) == Keys{good, bad});
  StepResult result;
  result.rows.resize(2);
  result.rows[0].token = SampledToken{.token = 9, .top = {}};
  SECTION("reported") { result.rows[1].error = make_error(ErrorCode::internal, "a kernel failed"); }
  SECTION("no token where one was due") {}
  SECTION("no result at all") { result.rows.pop_back(); }
  const StepOutcome outcome = b.scheduler.commit(plan, result, b.now);
  REQUIRE(outcome.ended.size() == 1);
  CHECK(key_of(outcome.ended[0].sequence->request) == bad);
  CHECK(outcome.ended[0].error.has_value());
  CHECK(outcome.sampled.size() == 1);
  CHECK(b.scheduler.running() == 1);
  CHECK(b.pool.published().size() == 2);
}

TEST_CASE("past its deadline a sequence leaves through the plan, waiting or running, without blocks") {
  Bench b(64, {.max_sequences = 1});
  Request running = b.request(4), waiting = b.request(4), patient = b.request(4);
  running.deadline = waiting.deadline = b.now + milliseconds(2);
  for (const Request* r : {&running, &waiting, &patient}) b.admitted(*r);
  b.step();
  CHECK(b.pool.in_use() == 1);
  const StepPlan plan = b.plan();
  REQUIRE(plan.expired.size() == 2);
  for (const auto& s : plan.expired) {
    CHECK(s->blocks.empty());
    CHECK(s->finished == b.now);
  }
  CHECK(plan.expired[0]->request.output.size() == 1);
  CHECK(keys_of(plan) == Keys{key_of(patient)});
}

TEST_CASE("times say when it was queued, scheduled, first answered and finished") {
  Bench b(64, {.max_batch_tokens = 4});
  b.now += milliseconds(10);
  b.admitted(b.request(6, 3));
  const TimePoint queued = b.now;
  const auto ended = b.drain();  // two steps of prefill, two more tokens
  REQUIRE(ended.size() == 1);
  const Sequence& s = *ended[0].sequence;
  CHECK(s.queued == queued);
  CHECK(s.scheduled == queued + milliseconds(1));
  CHECK(s.first_token == queued + milliseconds(2));
  CHECK(s.finished == queued + milliseconds(4));
}

TEST_CASE("cancel removes a sequence wherever it is") {
  Bench b(64, {.max_sequences = 1});
  const RequestKey running = b.admitted(b.request(4)), waiting = b.admitted(b.request(6));
  b.admitted(b.request(4));
  b.step();
  CHECK(b.scheduler.waiting_prefill_tokens() == 5 + 3);
  CHECK(key_of(b.scheduler.cancel(waiting)->request) == waiting);
  CHECK(b.scheduler.cancel(waiting) == nullptr);
  const auto removed = b.scheduler.cancel(running);
  REQUIRE(removed != nullptr);
  CHECK(b.pool.in_use() == 1);  // pinned until the caller lets go
  CHECK(b.scheduler.running() == 0);
  CHECK(b.scheduler.cancel_all().size() == 1);
  CHECK(b.scheduler.waiting() == 0);
}

TEST_CASE("a plan that was never committed is made again") {
  Bench b;
  b.admitted(b.request(6, 2));
  const StepPlan lost = b.plan();
  CHECK(rows_of(lost) == Rows{6});
  const StepPlan again = b.plan();
  CHECK(rows_of(again) == Rows{6});
  CHECK(again.rows[0].first_position == 0);
  CHECK(b.pool.in_use() == 2);
  b.commit(again);
  CHECK(b.drain().size() == 1);
}

TEST_CASE("roles have names") {
  for (const Role role : {Role::mixed, Role::prefill, Role::decode})
    CHECK(parse_role(to_string(role)) == role);
  CHECK_FALSE(parse_role("Mixed"));
}

}  // namespace
}  // namespace baton
