#include "app/readiness.hpp"

#include <mutex>
#include <random>
#include <string>
#include <utility>

namespace baton {
namespace {

constexpr auto kProbeTimeout = std::chrono::seconds(10);

RequestId draw_id() {
  std::random_device device;
  const auto word = [&] { return std::uint64_t{device()} << 32 | device(); };
  return {word(), word()};
}

// One token of prompt and two of output, the least that is handed over, in a cache of its own.
Request probe_request(TimePoint now) {
  Request request;
  request.id = draw_id();
  request.prompt = {0};
  request.sampling.temperature = 0;
  request.stop.max_tokens = 2;
  request.stop.ignore_eos = true;
  request.cache_salt = "readiness probe";
  request.arrival = now;
  request.deadline = now + kProbeTimeout;
  return request;
}

}  // namespace

struct Readiness::Probe final : TokenSink {
  enum class Stage : std::uint8_t { idle, running, passed };

  explicit Probe(Logger& l) : logger(l) {}
  void on_token(const TokenEvent&) override {}
  void on_finish(const FinishEvent&) override { set(Stage::passed); }
  void on_error(const Error& error) override {
    if (is_news(error.message))
      logger.warn("not ready: the probe failed", {{"why", error.message}});
    else
      logger.debug("the readiness probe failed again", {{"why", error.message}});
    set(Stage::idle);
  }
  bool is_news(const std::string& message) {
    std::lock_guard lock(mutex);
    return std::exchange(why, message) != message;
  }
  void set(Stage to) {
    std::lock_guard lock(mutex);
    stage = to;
  }
  // True where this call has taken it from idle to running.
  bool begin() {
    std::lock_guard lock(mutex);
    return stage == Stage::idle && (stage = Stage::running, true);
  }
  bool passed() {
    std::lock_guard lock(mutex);
    return stage == Stage::passed;
  }

  Logger& logger;
  std::mutex mutex;
  Stage stage = Stage::idle;
  std::string why;  // the last one failed
};

Readiness::Readiness(InferenceService& service, std::function<bool()> reachable, const Clock& clock,
                     Logger& logger)
    : service_(service),
      reachable_(std::move(reachable)),
      clock_(clock),
      logger_(logger),
      probe_(std::make_shared<Probe>(logger)) {}

bool Readiness::ready() {
  if (!reachable_()) return false;
  if (probe_->passed()) return true;
  if (!probe_->begin()) return false;
  if (auto sent = service_.submit(probe_request(clock_.now()), {}, probe_); !sent)
    probe_->on_error(sent.error());
  return false;
}

}  // namespace baton
