#include "baton/plan/search.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <numeric>
#include <thread>

#include "baton/base/units.hpp"
#include "baton/model/capability.hpp"

namespace baton {
namespace {

constexpr int kMaxBatch = 2048, kMaxPrefillBatch = 16;
constexpr int kMaxWorkers = 32;  // of each kind in one replica

int step_after(int batch) { return batch < 8 ? 1 : batch < 256 ? 8 : batch < 1024 ? 32 : 128; }

// Whether `tensor` GPUs of one machine can be one engine. What fills machines leaves no gaps between engines.
bool can_share(const PlanRequest& request, const EngineSetup& engine, int tensor) {
  const int node = static_cast<int>(engine.system.node_gpus);
  if (!request.limits.even_shares) return static_cast<int>(engine.model.query_heads) % tensor == 0;
  if (tensor > 1 && (node % tensor != 0 || engine.system.peer_bandwidth <= 0)) return false;
  return static_cast<bool>(shareable(engine.model, tensor));
}

// Powers of two; experts whole on their GPUs or, where the engine cannot, cut over all.
std::vector<Split> splits(const PlanRequest& request, const EngineSetup& engine) {
  std::vector<Split> all;
  const ModelShape& model = engine.model;
  const int node = static_cast<int>(engine.system.node_gpus);
  for (int tensor = 1; tensor <= std::min(request.limits.tensor, node); tensor *= 2) {
    if (!can_share(request, engine, tensor)) continue;
    for (int pipeline = 1; pipeline <= request.limits.pipeline; pipeline *= 2) {
      for (int data = 1; data <= (model.experts > 0 ? request.limits.data : 1); data *= 2) {
        const Split split{tensor, pipeline, data,
                          model.experts > 0 && request.limits.experts_apart ? 1 : tensor * data};
        if (split.gpus() > request.gpus) continue;
        if (model.experts > 0 && model.experts < split.expert_parallel()) continue;
        EngineSetup setup = engine;
        setup.split = split;
        if (memory_needed(setup, request.load, 1).fits) all.push_back(split);
      }
    }
  }
  return all;
}

bool within(double value, double limit) { return limit <= 0 || value <= limit; }

bool meets(const PlanRequest& r, const Estimate& e) {
  return within(e.ttft, r.ttft) && within(e.tpot, r.tpot) && within(e.latency, r.latency);
}

// GPUs that a choice leaves idle count: the same GPUs are there for all.
bool better(const Choice& a, const Choice& b) {
  if (a.tokens_per_gpu != b.tokens_per_gpu) return a.tokens_per_gpu > b.tokens_per_gpu;
  return a.estimate.gpus < b.estimate.gpus;
}

void replicate(Choice& choice, int gpus) {
  choice.replicas = gpus / choice.gpus_per_replica();
  choice.tokens_per_gpu = choice.tokens_per_second() / gpus;
}

// Points that no other point beats in both.
class Front {
 public:
  void add(const Estimate& e) { points_.push_back({e.tokens_per_user, e.tokens_per_gpu}); }
  std::vector<FrontPoint> points() {
    std::ranges::sort(points_, [](const FrontPoint& a, const FrontPoint& b) {
      return a.tokens_per_user != b.tokens_per_user ? a.tokens_per_user > b.tokens_per_user
                                                    : a.tokens_per_gpu > b.tokens_per_gpu;
    });
    std::vector<FrontPoint> front;
    for (const FrontPoint& point : points_)
      if (front.empty() || point.tokens_per_gpu > front.back().tokens_per_gpu) front.push_back(point);
    std::ranges::reverse(front);
    return front;
  }

 private:
  std::vector<FrontPoint> points_;
};

void search_aggregated(const PlanRequest& request, Plan& plan) {
  Front front;
  for (const Split& split : splits(request, request.prefill)) {
    EngineSetup engine = request.prefill;
    engine.split = split;
    plan.weights_fit = true;
    Choice best;
    best.replicas = 0;
    for (int batch = 1; batch <= kMaxBatch; batch += step_after(batch)) {
      if (batch % split.data != 0) continue;
      const Estimate estimate = estimate_aggregated(engine, request.load, batch);
      ++plan.evaluated;
      if (!estimate.decode_memory.fits) break;
      if (within(estimate.ttft, request.ttft)) front.add(estimate);
      if (!meets(request, estimate)) continue;
      Choice choice{.split = split, .batch = batch, .estimate = estimate};
      replicate(choice, request.gpus);
      if (best.replicas == 0 || better(choice, best)) best = choice;
    }
    if (best.replicas > 0) plan.aggregated.push_back(best);
  }
  plan.aggregated_front = front.points();
}

// Which prefill engines and batches are worth a try: the most prompts a second for each split, and one prompt
// at a time.
struct PrefillOption {
  Split split;
  int batch = 1;
};
std::vector<PrefillOption> prefill_options(const PlanRequest& request) {
  std::vector<PrefillOption> options;
  for (const Split& split : splits(request, request.prefill)) {
    EngineSetup engine = request.prefill;
    engine.split = split;
    for (int batch = 1; batch <= kMaxPrefillBatch; batch *= 2) {
      if (!memory_needed(engine, {request.load.input, 1, request.load.prefix}, 2.0 * batch * split.data).fits)
        break;
      options.push_back({split, batch});
    }
  }
  return options;
}

// A decode engine's batches that meet TPOT; the largest comes first.
std::vector<int> decode_batches(const PlanRequest& request, const EngineSetup& engine) {
  std::vector<int> batches;
  const PerfProfile cost = make_perf_profile(engine);
  for (int batch = 1; batch <= kMaxBatch; batch += step_after(batch)) {
    if (batch % engine.split.data != 0) continue;
    if (!memory_needed(engine, request.load, batch).fits) break;
    const double at_once = static_cast<double>(batch) / engine.split.pipeline;
    if (!within(cost.decode_seconds(at_once, at_once * (request.load.input + request.load.output / 2)),
                request.tpot))
      break;
    batches.push_back(batch);
  }
  std::ranges::reverse(batches);
  return batches;
}

// Whether the targets are met.
bool try_disaggregated(const PlanRequest& request, const Disaggregated& setup, Plan& plan, Choice& best) {
  const Estimate estimate = estimate_disaggregated(setup, request.load);
  ++plan.evaluated;
  if (!meets(request, estimate)) return false;
  Choice choice{.disaggregated = true,
                .prefill = setup.prefill.split,
                .decode = setup.decode.split,
                .batch = static_cast<int>(setup.decode_batch),
                .prefill_batch = static_cast<int>(setup.prefill_batch),
                .prefill_workers = static_cast<int>(setup.prefill_workers),
                .decode_workers = static_cast<int>(setup.decode_workers),
                .estimate = estimate};
  replicate(choice, request.gpus);
  if (best.prefill_workers == 0 || better(choice, best)) best = choice;
  return true;
}

// What the same engines do with fewer requests, for the front.
void add_front(const PlanRequest& request, const Choice& choice, Front& front) {
  Disaggregated setup{request.prefill, request.decode, static_cast<double>(choice.prefill_workers),
                      static_cast<double>(choice.decode_workers), static_cast<double>(choice.prefill_batch)};
  setup.prefill.split = choice.prefill;
  setup.decode.split = choice.decode;
  for (int batch = 1; batch <= kMaxBatch; batch += step_after(batch)) {
    setup.decode_batch = batch;
    const Estimate estimate = estimate_disaggregated(setup, request.load);
    if (!estimate.decode_memory.fits) break;
    if (within(estimate.ttft, request.ttft)) front.add(estimate);
  }
}

// The best choice for each pair of splits whose decode split is this one; keys: prefill's.
using BestByPrefill = std::map<std::array<int, 3>, Choice>;

void search_decode_split(const PlanRequest& request, const Split& decode_split,
                         const std::vector<PrefillOption>& prefills, Plan& plan, BestByPrefill& best) {
  Disaggregated setup{request.prefill, request.decode};
  setup.decode.split = decode_split;
  const std::vector<int> batches = decode_batches(request, setup.decode);
  for (const PrefillOption& prefill : prefills) {
    setup.prefill.split = prefill.split;
    setup.prefill_batch = prefill.batch;
    Choice& here = best[{prefill.split.tensor, prefill.split.pipeline, prefill.split.data}];
    for (int p = 1; p <= kMaxWorkers && p * prefill.split.gpus() < request.gpus; ++p) {
      const int room = (request.gpus - p * prefill.split.gpus()) / decode_split.gpus();
      for (int d = 1; d <= std::min(room, kMaxWorkers); ++d) {
        if (std::gcd(p, d) != 1) continue;  // the same as a smaller replica
        setup.prefill_workers = p;
        setup.decode_workers = d;
        for (const int batch : batches) {  // more requests, more throughput: the first that will do is best
          setup.decode_batch = batch;
          if (try_disaggregated(request, setup, plan, here)) break;
        }
      }
    }
  }
}

// f(0) to f(count - 1) over all cores, `progress` in this thread.
void for_all(std::size_t count, const SearchProgress& progress, const std::function<void(std::size_t)>& f) {
  std::atomic<std::size_t> next = 0, done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      f(i);
      ++done;
    }
  };
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::jthread> others;
  for (std::size_t i = 0; i < std::min(count, cores); ++i) others.emplace_back(work);
  while (progress && done < count) {
    progress(done, count);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  others.clear();
  if (progress && count > 0) progress(count, count);
}

void search_disaggregated(const PlanRequest& request, Plan& plan, const SearchProgress& progress) {
  Front front;
  const std::vector<PrefillOption> prefills = prefill_options(request);
  const std::vector<Split> decodes = splits(request, request.decode);
  struct Part {
    Plan plan;  // how many were evaluated
    BestByPrefill best;
  };
  std::vector<Part> parts(decodes.size());
  for_all(parts.size(), progress, [&](std::size_t i) {
    search_decode_split(request, decodes[i], prefills, parts[i].plan, parts[i].best);
  });
  std::map<std::array<int, 6>, Choice> best;  // one for each pair of splits, in an order of its own
  for (std::size_t i = 0; i < parts.size(); ++i) {
    plan.evaluated += parts[i].plan.evaluated;
    for (auto& [prefill, choice] : parts[i].best)
      best[{prefill[0], prefill[1], prefill[2], decodes[i].tensor, decodes[i].pipeline, decodes[i].data}] =
          std::move(choice);
  }
  for (auto& [layout, choice] : best) {
    if (choice.prefill_workers == 0) continue;
    add_front(request, choice, front);
    plan.disaggregated.push_back(std::move(choice));
  }
  plan.disaggregated_front = front.points();
}

void rank(std::vector<Choice>& choices, const PlanRequest& request) {
  std::ranges::stable_sort(choices, better);
  if (static_cast<int>(choices.size()) > request.top) choices.resize(static_cast<std::size_t>(request.top));
  if (request.request_rate <= 0) return;
  for (Choice& choice : choices) {  // no more replicas than the load needs
    const double each = choice.estimate.requests_per_second;
    const int needed = static_cast<int>(std::ceil(request.request_rate / each));
    if (needed >= choice.replicas) continue;
    choice.replicas = needed;
    choice.tokens_per_gpu = choice.estimate.tokens_per_gpu;  // the others are free for something else
  }
}

std::string number(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

const Choice* Plan::best() const {
  const Choice* agg = aggregated.empty() ? nullptr : aggregated.data();
  const Choice* disagg = disaggregated.empty() ? nullptr : disaggregated.data();
  if (agg == nullptr || disagg == nullptr) return agg != nullptr ? agg : disagg;
  return disagg->tokens_per_gpu > agg->tokens_per_gpu ? disagg : agg;
}

std::string Plan::reason(const PlanRequest& request) const {
  const Choice* winner = best();
  if (winner == nullptr) {
    if (!weights_fit) return "The weights do not fit into the memory of any split over these GPUs.";
    return "Nothing meets the targets: the fastest single request has a longer TTFT or TPOT than asked for.";
  }
  std::string text;
  if (aggregated.empty() || disaggregated.empty()) {
    text = winner->disaggregated ? "Only disaggregated engines meet the targets"
                                 : "Only aggregated engines meet the targets";
  } else {
    const Choice &a = aggregated.front(), &d = disaggregated.front();
    const double ratio =
        winner->disaggregated ? d.tokens_per_gpu / a.tokens_per_gpu : a.tokens_per_gpu / d.tokens_per_gpu;
    text = std::string(winner->disaggregated ? "Disaggregated" : "Aggregated") + " wins by " +
           number((ratio - 1) * 100, "%.0f %%");
  }
  if (!disaggregated.empty()) {
    const Choice& d = disaggregated.front();
    text += ": a prompt's KV cache is " + format_size(static_cast<std::uint64_t>(d.estimate.kv_per_prompt)) +
            ", " + number(d.estimate.kv_per_prompt / request.prefill.system.link_bandwidth * 1e3, "%.1f ms") +
            " on the link, which is " + number(d.estimate.link_utilised * 100, "%.0f %%") +
            " used; a decode engine holds " + std::to_string(d.batch) + " requests within TPOT";
    if (!aggregated.empty())
      text += ", an engine that also prefills " + std::to_string(aggregated.front().batch);
  }
  return text + ".";
}

Plan search(const PlanRequest& request, const SearchProgress& progress) {
  Plan plan;
  if (request.aggregated) search_aggregated(request, plan);
  if (request.disaggregated && request.gpus > 1) search_disaggregated(request, plan, progress);
  if (!plan.weights_fit) plan.weights_fit = !splits(request, request.prefill).empty();
  rank(plan.aggregated, request);
  rank(plan.disaggregated, request);
  return plan;
}

}  // namespace baton
