// What the engine thread itself does for a step, beside the model's work: plan, batch, commit, tokens out,
// statistics. The model costs nothing here and its vocabulary is tiny. docs/benchmarks.md, "The engine's
// share of a step".
//
//   engine_bench [CONTEXT] [STEPS]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/engine/engine.hpp"
#include "baton/engine/model_executor.hpp"

using namespace baton;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t kVocab = 16;
constexpr std::int32_t kBlock = 16;
constexpr std::int32_t kMostOutput = 1 << 17;  // more than the steps before and while it is measured

// Every logit is zero, at once.
class NoModel final : public Model {
 public:
  explicit NoModel(std::size_t rows) : logits_(rows * kVocab) { config_.vocab = kVocab; }
  const ModelConfig& config() const override { return config_; }
  Hash128 fingerprint() const override { return {}; }
  KvSpec kv_spec(std::int32_t block_size, std::optional<DType>) const override {
    KvSpec spec;
    spec.layout = KvLayout{DType::f32, 1, 1, 1, block_size};
    spec.places = {0};
    return spec;
  }
  Tensor forward(const Batch& batch, const KvView& kv, Ops& ops) override {
    ops.begin_step(batch, kv);
    return {logits_.data(), DType::f32, static_cast<std::int64_t>(batch.logit_rows.size()), kVocab, kVocab};
  }

 private:
  ModelConfig config_;
  std::vector<float> logits_;
};

void give_up(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::_Exit(1);
}

struct CountingSink final : TokenSink {
  std::atomic<std::uint64_t> tokens{0};
  std::atomic<bool> done{false};  // measured: what ends now is stopped
  void on_token(const TokenEvent&) override { tokens.fetch_add(1, std::memory_order_relaxed); }
  void on_finish(const FinishEvent&) override { give_up("a sequence ended: fewer STEPS, please"); }
  void on_error(const Error& error) override {
    if (!done) give_up(error.message.c_str());
  }
};

// Microseconds of a step in which `sequences` decode.
double measure(std::int32_t sequences, std::int32_t context, std::uint64_t steps, float penalty) {
  auto ops = make_ops({.threads = 1});
  NoModel model(static_cast<std::size_t>(sequences));
  const KvSpec spec = model.kv_spec(kBlock, {});
  const std::int32_t room = context + kMostOutput + kBlock;
  const auto blocks = static_cast<std::size_t>(sequences) * static_cast<std::size_t>(room / kBlock);
  KvMemory kv = *KvMemory::allocate(spec, spec.layout.block_bytes() * blocks, 1, Device{});
  SteadyClock clock;
  FaultPoints faults;
  EngineOptions options;
  options.limits = {sequences, 8192, 1024, 0, {}};
  Engine::Parts parts;
  parts.executor = make_model_executor(model, **ops, kv.view(), clock);
  parts.kv = kv.view();
  parts.clock = &clock;
  parts.logger = &null_logger();
  parts.faults = &faults;
  Engine engine(options, std::move(parts));
  engine.start();
  const auto sink = std::make_shared<CountingSink>();
  for (std::int32_t i = 0; i < sequences; ++i) {
    Request request;
    request.id = {1, static_cast<std::uint64_t>(i)};
    for (std::int32_t t = 0; t < context; ++t) request.prompt.push_back((t * 7 + i) % kVocab);
    request.prompt.front() = i % kVocab;
    request.stop.max_tokens = kMostOutput;
    request.sampling.temperature = 0;
    request.sampling.presence_penalty = penalty;
    if (const auto taken = engine.submit(request, {}, sink); !taken) give_up(taken.error().message.c_str());
  }
  while (engine.stats().running < static_cast<std::uint64_t>(sequences) ||
         engine.stats().waiting_prefill_tokens > 0)
    std::this_thread::sleep_for(1ms);
  const std::uint64_t first = engine.stats().steps;
  const TimePoint begun = clock.now();
  std::uint64_t done = 0;
  while (done < steps) {
    std::this_thread::yield();
    done = engine.stats().steps - first;
  }
  const double passed = to_seconds(clock.now() - begun);
  sink->done = true;
  engine.stop();
  return passed / static_cast<double>(done) * 1e6;
}

}  // namespace

int main(int count, char** arguments) {
  const int context = count > 1 ? std::max(1, std::atoi(arguments[1])) : 4000;
  const int steps = count > 2 ? std::max(1, std::atoi(arguments[2])) : 500;
  std::printf("sequences of %d tokens   us a step   with a presence penalty\n", context);
  for (const std::int32_t sequences : {1, 8, 30, 64, 256}) {
    const auto best = [&](float penalty) {
      double us = 1e9;
      for (int i = 0; i < 5; ++i)
        us = std::min(us, measure(sequences, context, static_cast<std::uint64_t>(steps), penalty));
      return us;
    };
    const double plain = best(0);
    std::printf("%9d %28.1f %18.1f\n", sequences, plain, best(0.5F));
    std::fflush(stdout);
  }
  return 0;
}
