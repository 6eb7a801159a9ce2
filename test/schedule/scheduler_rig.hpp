// A Scheduler with its pool and a clock, driven step by step by the tests. Every sampled token is 9 unless a
// test says otherwise.
#pragma once

#include <algorithm>
#include <chrono>
#include <numeric>

#include "baton/schedule/scheduler.hpp"
#include "support/catch.hpp"

namespace baton::test {

using std::chrono::milliseconds;

inline constexpr std::int32_t kBlockSize = 4;
inline constexpr TokenId kEos = 2;
inline const BlockHashKey kKey = make_block_hash_key("secret", {1, 2}, "f32", "");

inline std::vector<TokenId> text(std::int32_t n, TokenId first = 100) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

struct Rig {
  explicit Rig(std::int32_t blocks = 64, SchedulerLimits limits = {})
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
      for (EndedSequence& e : outcome.ended) e.sequence->blocks.clear();
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

inline std::vector<std::int32_t> rows_of(const StepPlan& plan) {
  std::vector<std::int32_t> rows;
  for (const PlannedRows& r : plan.rows) rows.push_back(r.rows);
  return rows;
}

inline std::vector<RequestKey> keys_of(const StepPlan& plan) {
  std::vector<RequestKey> keys;
  for (const PlannedRows& r : plan.rows) keys.push_back(key_of(r.sequence->request));
  return keys;
}

using Rows = std::vector<std::int32_t>;
using Keys = std::vector<RequestKey>;

}  // namespace baton::test
