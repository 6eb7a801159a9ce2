#include "sim/sim_engine.hpp"

#include <algorithm>
#include <utility>

namespace baton::sim {

void SimExecutor::submit(const StepPlan& plan) {
  seconds_ = profile_.step_seconds(step_shape(plan));
  result_.rows.assign(plan.rows.size(), {});
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    if (!plan.rows[i].sample) continue;
    SampledToken token;
    token.token =
        static_cast<TokenId>((drawn_++ * 0x9e3779b97f4a7c15ULL >> 33) % static_cast<std::uint64_t>(vocab_));
    result_.rows[i].token = std::move(token);
  }
}

SimEngine::SimEngine(std::string engine_name, Role engine_role, const SimKind& kind, std::int32_t block_size,
                     const SchedulerLimits& limits, std::int32_t vocab)
    : name(std::move(engine_name)),
      role(engine_role),
      pool(kind.blocks, block_size, kind.groups),
      scheduler(limits, pool),
      profile_(kind.profile),
      limits_(limits),
      executor_(kind.profile, vocab) {}

std::optional<double> SimEngine::begin_step(TimePoint now, double slower) {
  plan_ = scheduler.plan(now);
  if (plan_.empty()) return std::nullopt;
  executor_.submit(plan_);
  busy_ = true;
  ++steps;
  const double seconds = executor_.seconds() * slower;
  busy_seconds += seconds;
  const double rows = static_cast<double>(plan_.tokens) / limits_.max_batch_tokens;
  const double sequences = static_cast<double>(plan_.rows.size()) / limits_.max_sequences;
  full_seconds += seconds * std::max(rows, sequences);
  return seconds;
}

StepOutcome SimEngine::finish_step(TimePoint now) {
  busy_ = false;
  const StepResult result = executor_.wait();
  StepOutcome outcome = scheduler.commit(plan_, result, now);
  decode_tokens += outcome.sampled.size();
  return outcome;
}

EngineReading SimEngine::reading() const {
  EngineReading r;
  r.node = name;
  r.role = role;
  r.prefill_tokens = scheduler.prefill_tokens_computed();
  r.decode_tokens = decode_tokens;
  r.waiting_prefill_tokens = static_cast<std::uint64_t>(scheduler.waiting_prefill_tokens());
  r.running = scheduler.running();
  r.kv_tokens = static_cast<std::uint64_t>(scheduler.kv_tokens());
  r.kv_blocks = pool.total();
  r.kv_groups = pool.groups();
  r.block_size = pool.block_size();
  r.chunk = limits_.max_batch_tokens;
  r.profile = profile_;
  return r;
}

Candidate SimEngine::candidate(std::int64_t prompt) const {
  Candidate c;
  c.node = name;
  c.role = role;
  c.waiting_prefill_tokens = static_cast<std::uint64_t>(scheduler.waiting_prefill_tokens());
  c.running = static_cast<std::uint32_t>(scheduler.running()) + coming;
  c.waiting = static_cast<std::uint32_t>(scheduler.waiting());
  c.kv_tokens = static_cast<std::uint64_t>(scheduler.kv_tokens()) + coming_tokens;
  c.free_tokens =
      pool.groups().tokens_in(pool.available(), static_cast<std::uint64_t>(prompt), pool.block_size());
  c.chunk = limits_.max_batch_tokens;
  c.profile = profile_;
  return c;
}

}  // namespace baton::sim
