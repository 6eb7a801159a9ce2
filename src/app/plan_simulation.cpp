#include "app/plan_simulation.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "baton/plan/artifacts.hpp"
#include "baton/router/policy.hpp"
#include "baton/sim/simulation.hpp"

namespace baton {
namespace {

constexpr std::int32_t kBlock = 16;
constexpr int kRounds = 6, kMostRequests = 1500;  // of a choice's simulation
constexpr int kSampledEngines = 2;
constexpr int kDraws = 5;  // of a system's jitter

std::vector<TraceRequest> equal_requests(const Workload& load, int count) {
  std::vector<TraceRequest> all(static_cast<std::size_t>(count));
  std::uint64_t content = 1;
  for (TraceRequest& request : all) {
    request.input_tokens = static_cast<std::int32_t>(load.input);
    request.output_tokens = static_cast<std::int32_t>(load.output);
    // What the prefix cache has is the same for all.
    const auto shared = static_cast<std::int32_t>(load.prefix);
    for (std::int32_t at = 0; at < request.input_tokens; at += kTraceChunk)
      request.content.push_back(at + kTraceChunk <= shared ? 0 : content++);
  }
  return all;
}

SimKind kind_of(const EngineSetup& engine) {
  const KvRoom room = kv_room(engine, 0.9, kBlock);
  return {make_perf_profile(engine), static_cast<std::int32_t>(std::min(room.blocks, 1e8)), room.groups};
}

// How many times the limit; 0 where there is none.
double beyond(double value, double limit) { return limit > 0 ? value / limit : 0; }

// Rows of a step, up to the first that holds a whole prompt. Engines that prefill alone do that anyway (0).
std::vector<int> chunks_worth_trying(const PlanRequest& request, const Choice& choice) {
  if (choice.disaggregated) return {0};
  std::vector<int> chunks{512};
  for (const int chunk : {1024, 2048, 8192})
    if (chunks.back() < request.load.input) chunks.push_back(chunk);
  return chunks;
}

// A replica of many engines is simulated by a few decode engines and as many prefill engines as they need at
// least: what the real, fewer ones can do stays the formula's.
Result<Estimate> simulate_sample(const PlanRequest& request, const Choice& choice) {
  Choice sample = choice;
  sample.decode_workers = std::min(choice.decode_workers, kSampledEngines);
  const double share = choice.disaggregated ? 1.0 * sample.decode_workers / choice.decode_workers : 1;
  sample.prefill_workers = static_cast<int>(std::ceil(choice.prefill_workers * share));
  const int concurrency = sample.batch * (choice.disaggregated ? sample.decode_workers : 1);
  const int count = std::max(3 * concurrency, std::min(kRounds * concurrency, kMostRequests));
  auto estimate = simulate_choice(request, sample, concurrency, count);
  if (!estimate || share == 1) return estimate;
  const Estimate& formula = choice.estimate;
  const double busiest = std::max(formula.prefill_utilised, formula.link_utilised);
  const double most =
      busiest > 0 ? formula.requests_per_second / busiest : estimate->requests_per_second / share;
  const double rate = std::min(estimate->requests_per_second / share, most);
  estimate->tokens_per_gpu *= rate / estimate->requests_per_second;
  estimate->concurrency /= share;
  // The closed loop: whom the formula's slower stage keeps out of the decode engines waits before it.
  if (rate < estimate->requests_per_second / share) {
    const double decoding = estimate->latency - estimate->ttft;
    estimate->ttft = std::max(estimate->ttft, estimate->concurrency / rate - decoding);
    estimate->latency = estimate->ttft + decoding;
  }
  estimate->requests_per_second = rate;
  return estimate;
}

// Fewer requests at a time until the targets are met; false where they never are. What the simulator cannot
// run keeps its formula.
bool settle(const PlanRequest& request, Choice& choice) {
  for (;;) {
    const auto estimate = simulate_sample(request, choice);
    if (!estimate) return true;
    const double over = std::max({beyond(estimate->ttft, request.ttft), beyond(estimate->tpot, request.tpot),
                                  beyond(estimate->latency, request.latency)});
    if (over <= 1) {
      const double used = choice.tokens_per_gpu / choice.estimate.tokens_per_gpu;  // of all GPUs
      choice.estimate = *estimate;
      choice.tokens_per_gpu = estimate->tokens_per_gpu * used;
      return true;
    }
    if (choice.batch == 1) return false;
    choice.batch = std::max(1, static_cast<int>(choice.batch * std::clamp(1 / over, 0.8, 0.95)));
  }
}

// With the rows of a step that do best; nothing where none meets the targets.
std::optional<Choice> refine(const PlanRequest& request, const Choice& choice) {
  std::optional<Choice> best;
  for (const int chunk : chunks_worth_trying(request, choice)) {
    Choice tried = choice;
    tried.chunk = chunk;
    if (settle(request, tried) && (!best || tried.tokens_per_gpu > best->tokens_per_gpu)) best = tried;
  }
  return best;
}

}  // namespace

Result<Estimate> simulate_choice(const PlanRequest& request, const Choice& choice, int concurrency,
                                 int requests) {
  SimOptions options;
  EngineSetup engine = request.prefill;
  engine.split = choice.disaggregated ? choice.prefill : choice.split;
  const SimKind first = kind_of(engine);
  options.profile = first.profile;
  options.blocks = first.blocks;
  options.groups = first.groups;
  if (choice.disaggregated) {
    EngineSetup decode = request.decode;
    decode.split = choice.decode;
    options.decode_kind = kind_of(decode);
  }
  options.block_size = kBlock;
  options.vocab = static_cast<std::int32_t>(engine.model.vocab);
  options.concurrency = concurrency;
  options.mixed = choice.disaggregated ? 0 : 1;
  options.prefill = choice.disaggregated ? choice.prefill_workers : 0;
  options.decode = choice.disaggregated ? choice.decode_workers : 0;
  const EngineLimits limits = engine_limits(choice, request, choice.disaggregated ? "prefill" : "mixed");
  const EngineLimits decode = engine_limits(choice, request, "decode");
  options.limits = {std::max(limits.sequences, decode.sequences), limits.batch_tokens, 1 << 30,
                    static_cast<std::int32_t>(engine.model.max_positions)};
  // In a closed loop small delays decide which requests meet: several draws, their mean.
  options.jitter = request.prefill.system.jitter;
  const int draws = options.jitter > 0 ? kDraws : 1;
  double ttft = 0, tpot = 0, latency = 0, tokens = 0;
  for (int draw = 1; draw <= draws; ++draw) {
    options.seed = static_cast<std::uint64_t>(draw);
    const auto policy = make_policy("kv");
    const auto report = simulate(options, equal_requests(request.load, requests), *policy);
    if (!report) return report.error();
    const SimSummary summary = summarize(*report, options);
    ttft += summary.ttft.p50 / draws;
    tpot += summary.itl.p50 / draws;
    latency += summary.latency.p50 / draws;
    tokens += summary.output_tokens_per_second / draws;
  }
  Estimate estimate = choice.estimate;
  const double base = engine.profile.efficiency.base;
  estimate.ttft = ttft + base;
  if (request.load.output > 1) estimate.tpot = tpot;  // one token has none: the formula's
  estimate.latency = latency + base;
  estimate.concurrency = concurrency;
  estimate.requests_per_second = tokens / std::max(1.0, request.load.output);
  estimate.tokens_per_gpu = tokens / estimate.gpus;
  estimate.tokens_per_user = 1 / std::max(estimate.tpot, 1e-9);
  return estimate;
}

// Choices know nothing of each other: over all cores.
void refine_by_simulation(const PlanRequest& request, Plan& plan) {
  std::vector<Choice> all = plan.aggregated;
  all.insert(all.end(), plan.disaggregated.begin(), plan.disaggregated.end());
  std::vector<std::optional<Choice>> refined(all.size());
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  {
    const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(cores, all.size()); ++i)
      threads.emplace_back([&] {
        try {
          for (std::size_t at = next++; at < all.size(); at = next++) refined[at] = refine(request, all[at]);
        } catch (...) {
          const std::scoped_lock lock(failure_mutex);
          failure = std::current_exception();
        }
      });
  }
  if (failure) std::rethrow_exception(failure);
  plan.aggregated.clear(), plan.disaggregated.clear();
  for (const std::optional<Choice>& choice : refined)
    if (choice) (choice->disaggregated ? plan.disaggregated : plan.aggregated).push_back(*choice);
  for (std::vector<Choice>* choices : {&plan.aggregated, &plan.disaggregated})
    std::ranges::stable_sort(*choices, std::greater<>{}, &Choice::tokens_per_gpu);
}

}  // namespace baton
