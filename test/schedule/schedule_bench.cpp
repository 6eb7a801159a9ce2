// How long plan() and commit() take: 256 running decodes, and 256 decodes beside prefills and a long queue.
// Prints the median and the 99th percentile in microseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "baton/schedule/scheduler.hpp"

namespace baton {
namespace {

constexpr std::int32_t kBlockSize = 16;
constexpr std::int32_t kSequences = 256;

StepResult results_for(const StepPlan& plan) {
  StepResult result;
  result.rows.resize(plan.rows.size());
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    if (plan.rows[i].sample) result.rows[i].token = SampledToken{.token = 9, .top = {}};
  }
  return result;
}

void measure(const char* name, std::int32_t queued, bool equal_prompts) {
  BlockPool pool(60'000, kBlockSize);
  const SchedulerLimits limits{
      .max_sequences = kSequences, .max_batch_tokens = 1024, .max_waiting = 4096, .max_context = 8192};
  Scheduler scheduler(limits, pool);
  const BlockHashKey key = make_block_hash_key("secret", {1, 2}, "f32", "");
  std::uint64_t id = 0;
  const auto admit = [&](std::int32_t prompt) {
    Request r;
    r.id = {1, ++id};
    r.prompt.assign(static_cast<std::size_t>(prompt), equal_prompts ? 5 : static_cast<TokenId>(id));
    r.stop.max_tokens = 2048;
    (void)scheduler.admit(make_sequence(std::move(r), kBlockSize, key, {}));
  };
  const std::int32_t decodes = queued > 0 ? kSequences - 8 : kSequences;  // the rest are seats for the queue
  for (std::int32_t i = 0; i < decodes; ++i) admit(500);
  while (scheduler.waiting() > 0) {
    const StepPlan plan = scheduler.plan({});
    (void)scheduler.commit(plan, results_for(plan), {});
  }
  if (equal_prompts) (void)pool.take_events();
  for (std::int32_t i = 0; i < queued; ++i) admit(4000);

  std::vector<double> microseconds;
  for (int step = 0; step < 400; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    const StepPlan plan = scheduler.plan({});
    const auto planned = std::chrono::steady_clock::now();
    const StepResult result = results_for(plan);
    const auto computed = std::chrono::steady_clock::now();
    (void)scheduler.commit(plan, result, {});
    const auto end = std::chrono::steady_clock::now();
    microseconds.push_back(
        std::chrono::duration<double, std::micro>((planned - begin) + (end - computed)).count());
  }
  std::ranges::sort(microseconds);
  std::printf("%-44s median %7.1f us, p99 %7.1f us\n", name, microseconds[microseconds.size() / 2],
              microseconds[microseconds.size() * 99 / 100]);
}

}  // namespace
}  // namespace baton

int main() {
  baton::measure("256 decodes", 0, false);
  baton::measure("248 decodes, 8 prefills, 1000 wait", 1000, false);
  baton::measure("248 decodes, 1000 wait for equal prompts", 1000, true);
}
