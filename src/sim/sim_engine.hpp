// SimEngine: one engine in virtual time: the real Scheduler and BlockPool, and an executor that only counts.
//
// Owned and driven by the Simulation, which calls begin_step() when the engine is free and finish_step() when
// the step's time is over.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baton/cache/block_pool.hpp"
#include "baton/router/block_index.hpp"
#include "baton/router/policy.hpp"
#include "baton/router/role_controller.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/scheduler.hpp"
#include "baton/sim/simulation.hpp"

namespace baton::sim {

// Every sampled token is a fresh one, so that generated text is never a cache hit by accident.
class SimExecutor final : public Executor {
 public:
  SimExecutor(const PerfProfile& profile, std::int32_t vocab) : profile_(profile), vocab_(vocab) {}
  void submit(const StepPlan& plan) override;
  StepResult wait() override { return std::move(result_); }
  double seconds() const { return seconds_; }  // of the step submitted last

 private:
  const PerfProfile profile_;
  const std::int32_t vocab_;
  std::uint64_t drawn_ = 0;
  StepResult result_;
  double seconds_ = 0;
};

class SimEngine {
 public:
  SimEngine(std::string name, Role role, const SimKind& kind, std::int32_t block_size,
            const SchedulerLimits& limits, std::int32_t vocab);

  // Seconds that the step takes, `slower` times what the profile says; nothing where there is none to make.
  std::optional<double> begin_step(TimePoint now, double slower);
  const StepPlan& plan() const { return plan_; }  // of the step under way
  StepOutcome finish_step(TimePoint now);
  bool busy() const { return busy_; }
  const PerfProfile& profile() const { return profile_; }

  // For a prompt of so many tokens; without held_blocks.
  Candidate candidate(std::int64_t prompt) const;
  EngineReading reading() const;

  const std::string name;
  Role role;
  BlockPool pool;
  Scheduler scheduler;
  std::uint64_t steps = 0;
  double busy_seconds = 0, full_seconds = 0;  // full: weighted by how full its steps were
  std::uint64_t event_sequence = 0;
  NodeId index_id = kNoNode;  // in the block index
  std::uint64_t decode_tokens = 0;
  // Requests that will generate here once another engine has computed their prompts, and those prompts'
  // tokens.
  std::uint32_t coming = 0;
  std::uint64_t coming_tokens = 0;
  double sends_until = 0, receives_until = 0;  // when its link is free again, by direction

 private:
  const PerfProfile profile_;
  const SchedulerLimits limits_;
  SimExecutor executor_;
  StepPlan plan_;
  bool busy_ = false;
};

}  // namespace baton::sim
