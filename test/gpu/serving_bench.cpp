#include "serving_bench.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

#include "baton/engine/kv_memory.hpp"
#include "baton/engine/model_executor.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton::gpu {
namespace {

constexpr std::int32_t kBlock = 16;

TimePoint now() {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// A fixed number of clients; each sends its next prompt as soon as its last answer has ended.
class ClosedLoad {
 public:
  ClosedLoad(const ModelSize& size, CudaOps& ops, Model& model, const ServingOptions& options)
      : size_(size),
        options_(options),
        memory_(allocate(model, options)),
        pool_(memory_.view().blocks, kBlock),
        scheduler_({.max_sequences = 512,
                    .max_batch_tokens = options.batch_tokens,
                    .max_waiting = 1024,
                    .max_context = options.prompt + options.output + 8,
                    .queue_timeout = Duration(0)},
                   pool_),
        executor_(make_model_executor(model, ops, memory_.view(), clock_)) {}

  std::int32_t clients() const { return clients_; }
  // The first clients come at random points of their answers, as they would be found in a steady state.
  void add_client() {
    ++clients_;
    send(std::uniform_int_distribution<std::int32_t>(2, options_.output)(engine_));
  }

  bool prefilling() const { return scheduler_.waiting() > 0 || scheduler_.waiting_prefill_tokens() > 0; }

  void step(bool measure) {
    const TimePoint begun = now();
    const StepPlan plan = scheduler_.plan(begun);
    const TimePoint planned = now();
    executor_->submit(plan);
    const StepResult result = executor_->wait();
    const TimePoint at = now();
    const StepOutcome outcome = scheduler_.commit(plan, result, at);
    for (const SampledSequence& sampled : outcome.sampled) {
      const Sequence* const sequence = sampled.sequence;
      Client& client = of_[sequence->request.id.low];
      if (measure) {
        ++tokens;
        if (client.last == TimePoint{})
          ttft.push_back(to_seconds(at - client.sent));
        else
          gaps.push_back(to_seconds(at - client.last));
      }
      client.last = at;
    }
    for (const EndedSequence& ended : outcome.ended) {
      if (ended.error) {
        std::fprintf(stderr, "%s\n", ended.error->message.c_str());
        std::exit(1);
      }
      of_.erase(ended.sequence->request.id.low);
      send(options_.output);
    }
    host_seconds += to_seconds(planned - begun) + to_seconds(now() - at);
    ++steps;
  }

  void reset() {
    tokens = 0;
    steps = 0;
    host_seconds = 0;
    ttft.clear();
    gaps.clear();
  }
  std::int64_t tokens = 0, steps = 0;
  double host_seconds = 0;  // in the scheduler and in the load itself, while the GPU idles
  std::vector<double> ttft, gaps;

 private:
  struct Client {
    TimePoint sent{}, last{};
  };

  static KvMemory allocate(Model& model, const ServingOptions& options) {
    const KvSpec spec = model.kv_spec(kBlock, options.kv);
    const std::int32_t most = *std::max_element(options.concurrency.begin(), options.concurrency.end()) + 2;
    const auto blocks = static_cast<std::size_t>(most) *
                        static_cast<std::size_t>((options.prompt + options.output) / kBlock + 2);
    auto memory = KvMemory::allocate(spec, spec.layout.block_bytes() * blocks, 1, {DeviceKind::cuda, 0});
    if (memory) return *std::move(memory);
    std::fprintf(stderr, "%s\n", memory.error().message.c_str());
    std::exit(1);
  }

  void send(std::int32_t output) {
    Request request;
    request.id = {1, ++last_id_};
    for (std::int32_t i = 0; i < options_.prompt; ++i)
      request.prompt.push_back(static_cast<TokenId>(engine_() % static_cast<unsigned>(size_.vocab)));
    request.sampling.temperature = 0;
    request.stop.max_tokens = output;
    request.stop.ignore_eos = true;
    of_[last_id_] = {now(), {}};
    auto admitted = scheduler_.admit(make_sequence(std::move(request), kBlock, BlockHashKey{}, now()));
    if (admitted) return;
    std::fprintf(stderr, "%s\n", admitted.error().message.c_str());
    std::exit(1);
  }

  const ModelSize& size_;
  const ServingOptions options_;
  KvMemory memory_;
  BlockPool pool_;
  Scheduler scheduler_;
  SteadyClock clock_;
  std::unique_ptr<Executor> executor_;
  std::mt19937 engine_{7};
  std::uint64_t last_id_ = 0;
  std::int32_t clients_ = 0;
  std::map<std::uint64_t, Client> of_;
};

}  // namespace

void serving_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings,
                   const ServingOptions& options) {
  // What the ceilings allow: a token needs its share of the weights and its own KV read, and its share of a
  // prefill.
  std::printf(
      "serving %s, ISL %d, OSL %d, KV %s, steps of up to %d rows; targets TPOT %.2f ms, TTFT %.0f ms\n",
      size.name.c_str(), options.prompt, options.output, std::string(to_string(options.kv)).c_str(),
      options.batch_tokens, options.tpot * 1e3, options.ttft * 1e3);
  ClosedLoad load(size, ops, model, options);
  double best = 0;
  for (const std::int32_t clients : options.concurrency) {
    while (load.clients() < clients) load.add_client();
    while (load.prefilling()) load.step(false);
    const TimePoint settle = now() + std::chrono::milliseconds(1500);
    while (now() < settle) load.step(false);
    load.reset();
    const TimePoint begun = now();
    while (to_seconds(now() - begun) < options.seconds) load.step(true);
    const double elapsed = to_seconds(now() - begun);
    const double rate = static_cast<double>(load.tokens) / elapsed;
    const double tpot = mean(load.gaps), ttft = quantile(load.ttft, 0.5);
    const bool meets = tpot <= options.tpot && ttft <= options.ttft;
    if (meets) best = std::max(best, rate);
    const double context = options.prompt + options.output / 2.0;
    const double bound = clients * size.kv_bytes_per_token(options.kv) * context / ceilings.copy_bytes +
                         size.weight_bytes() / ceilings.copy_bytes +
                         clients * size.prefill_flops(options.prompt) / options.output / ceilings.bf16_flops;
    std::printf(
        "  %4d clients  %7.0f tok/s  TPOT mean %6.2f p50 %6.2f p99 %6.2f ms  TTFT p50 %6.0f p99 %6.0f ms  "
        "bound %6.2f ms a step (%4.1f %%)  "
        "host %4.2f ms a step  %s\n",
        clients, rate, tpot * 1e3, quantile(load.gaps, 0.5) * 1e3, quantile(load.gaps, 0.99) * 1e3,
        ttft * 1e3, quantile(load.ttft, 0.99) * 1e3, bound * 1e3, 100 * bound / tpot,
        load.host_seconds / static_cast<double>(load.steps) * 1e3, meets ? "meets" : "misses");
    std::fflush(stdout);
  }
  std::printf("  best that meets the targets: %.0f tok/s\n", best);
}

}  // namespace baton::gpu
