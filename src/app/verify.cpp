// baton plan --verify: the plan's own load against a running deployment, predicted and measured side by side.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include "app/bench_load.hpp"
#include "app/plan_check.hpp"
#include "app/plan_simulation.hpp"
#include "app/system.hpp"
#include "baton/bench/statistics.hpp"

namespace baton {
Result<void> verify(const PlanCheckOptions& options, const PlanRequest& request) {
  Plan plan = search(request);
  if (request.prefill.profile.backend == "baton") refine_by_simulation(request, plan);
  const Choice* best = plan.best();
  if (best == nullptr)
    return make_error(ErrorCode::unsupported, "nothing to verify: " + plan.reason(request));
  const int concurrency =
      options.concurrency > 0 ? options.concurrency : static_cast<int>(std::lround(best->concurrency()));
  bench::BenchOptions load;
  load.url = options.verify;
  load.isl = request.load.input, load.osl = request.load.output;
  load.requests = options.requests > 0 ? options.requests : 8 * concurrency;
  load.warm_up = concurrency;
  load.extra = {"ignore_eos:true"};
  load.seed = static_cast<std::int32_t>(std::random_device{}() >>
                                        2);  // prompts that no earlier run left in a prefix cache
  // One replica under its part of the load, as the bench will send it: from an empty start.
  const int each = std::max(1, concurrency / best->replicas);
  const auto estimate = simulate_choice(request, *best, each, std::max(1, load.requests / best->replicas));
  if (!estimate) return estimate.error();
  const auto prepared = bench::prepare(load, count_progress("Writing prompts"));
  if (!prepared) return prepared.error();
  const auto run = bench::run_prepared(*prepared, load, concurrency, 0, {});
  if (!run) return run.error();
  const bench::Summary summary = bench::summarize(*run, {});
  if (summary.completed == 0) {
    const std::string why = run->records.empty() ? "nothing was answered" : run->records.front().error;
    return make_error(ErrorCode::unavailable, "--verify: " + why, "--verify");
  }
  std::printf("%d requests at a time, ISL %.0f, OSL %.0f, %s on %d GPUs of %s; %zu answered, %zu failed\n\n",
              concurrency, request.load.input, request.load.output,
              best->disaggregated ? "disaggregated" : "aggregated", best->gpus_used(),
              request.prefill.system.name.c_str(), summary.completed, summary.failed);
  std::printf("%-28s %12s %12s %10s\n", "", "predicted", "measured", "off by");
  const auto row = [](const char* name, double expected, double measured) {
    std::printf("%-28s %12.2f %12.2f %+9.1f %%\n", name, expected, measured, (expected / measured - 1) * 100);
  };
  const auto median = [&](const char* tag) { return summary.find(tag)->spread.p50; };
  row("TTFT p50, ms", estimate->ttft * 1e3, median("time_to_first_token"));
  row("TPOT p50, ms", estimate->tpot * 1e3, median("inter_token_latency"));
  row("request latency p50, ms", estimate->latency * 1e3, median("request_latency"));
  const double predicted_tokens = estimate->requests_per_second * request.load.output * best->replicas;
  row("output tokens/s", predicted_tokens, summary.find("output_token_throughput")->spread.avg);
  return {};
}

}  // namespace baton
