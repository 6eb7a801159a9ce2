// How quickly an engine changes its role while it decodes: until it is told to everybody (commit), and until
// the first step in the new role begins. docs/benchmarks.md, "Role switch".
//
//   role_bench [FLIPS] [STEP_MS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/engine/engine.hpp"
#include "engine/fake_model.hpp"
#include "support/collecting_sink.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

// Notes when steps begin.
class Timed final : public Executor {
 public:
  Timed(KvView kv, std::chrono::microseconds step) : model_(kv, step) {}
  void submit(const StepPlan& plan) override {
    {
      std::lock_guard lock(mutex_);
      begun_.push_back(std::chrono::steady_clock::now());
    }
    model_.submit(plan);
  }
  StepResult wait() override { return model_.wait(); }
  // The n-th step that began after `moment`, counted from 0; waits for it.
  TimePoint step_after(TimePoint moment, std::ptrdiff_t n) {
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        const auto first = std::ranges::upper_bound(begun_, moment);
        if (begun_.end() - first > n) return *(first + n);
      }
      std::this_thread::sleep_for(100us);
    }
  }

 private:
  FakeExecutor model_;
  std::mutex mutex_;
  std::vector<TimePoint> begun_;
};

void print(const char* what, std::vector<double> ms) {
  std::ranges::sort(ms);
  const auto at = [&](double share) {
    return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))];
  };
  std::printf("%-44s p50 %8.3f ms   p99 %8.3f ms   max %8.3f ms\n", what, at(0.5), at(0.99), ms.back());
}

}  // namespace

int main(int count, char** arguments) {
  const int flips = count > 1 ? std::max(1, std::atoi(arguments[1])) : 200;
  const int step_ms = count > 2 ? std::max(1, std::atoi(arguments[2])) : 20;
  const KvSpec spec = fake_kv_spec(16);
  KvMemory kv = *KvMemory::allocate(spec, spec.layout.block_bytes() * 4096, 4096, Device{});
  SteadyClock clock;
  FaultPoints faults;
  auto executor = std::make_unique<Timed>(kv.view(), std::chrono::milliseconds(step_ms));
  Timed& steps = *executor;
  EngineOptions options;
  options.limits = {16, 512, 64, 60'000, {}};
  Engine::Parts parts;
  parts.executor = std::move(executor);
  parts.kv = kv.view();
  parts.clock = &clock;
  parts.logger = &null_logger();
  parts.faults = &faults;
  Engine engine(options, std::move(parts));
  engine.start();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t i = 0; i < 8; ++i) {
    Request request;
    request.id = {1, i};
    request.prompt = {1, 2, 3};
    request.stop.max_tokens = flips * 2 + 400;
    sinks.push_back(std::make_shared<CollectingSink>());
    (void)engine.submit(request, {}, sinks.back());
  }
  for (const auto& sink : sinks) sink->wait_tokens(2);

  std::vector<double> commit, next_step;
  const Role roles[] = {Role::prefill, Role::decode, Role::mixed};
  for (int i = 0; i < flips; ++i) {
    const Role role = roles[i % 3];
    const TimePoint told = clock.now();
    engine.set_role(role);
    while (engine.stats().role != to_string(role)) std::this_thread::yield();
    commit.push_back(to_milliseconds(clock.now() - told));
    // A step takes its commands microseconds before it begins: a switch just in between is counted one step
    // too early.
    next_step.push_back(to_milliseconds(steps.step_after(told, 0) - told));
    std::this_thread::sleep_for(std::chrono::microseconds(1000 * step_ms / 7 * (1 + i % 5)));
  }
  bool all_went_on = true;
  for (const auto& sink : sinks)
    all_went_on = all_went_on && sink->wait_end(60s) && sink->finish().has_value();
  engine.stop();
  std::printf("%d role switches under 8 running decodes, steps of %d ms\n", flips, step_ms);
  print("commit: told by stats and to peers", commit);
  print("until the first step in the new role", next_step);
  std::printf("running decodes finished: %s\n", all_went_on ? "all" : "NOT ALL");
  return all_went_on ? 0 : 1;
}
