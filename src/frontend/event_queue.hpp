// The bridge from an engine's threads to a connection's strand: TokenSinks push, the connection takes all
// that is there.
//
// Invariant: `notify` is called once per batch, under the queue's lock and never after close(); so it may
// post to an executor that dies with the connection. push never blocks on I/O. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/schedule/service.hpp"

namespace baton::frontend {

struct TokenArrival {
  SampledToken token;
  TimePoint at{};
};

struct StreamEvent {
  std::size_t stream = 0;  // which of the answer's choices or inputs
  std::variant<TokenArrival, FinishEvent, Error, RouteEvent> what;
};

class EventQueue {
 public:
  explicit EventQueue(std::function<void()> notify = {}) : notify_(std::move(notify)) {}

  void push(StreamEvent event) {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    events_.push_back(std::move(event));
    if (events_.size() == 1 && notify_) notify_();
  }

  std::vector<StreamEvent> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    notify_ = nullptr;
    events_.clear();
  }

 private:
  std::mutex mutex_;
  std::function<void()> notify_;
  std::vector<StreamEvent> events_;
  bool closed_ = false;
};

// Counts what is on its way to the engines, so that a bound can be kept. Shared with the sinks, which may
// outlive the server inside an engine's queues.
class Admission {
 public:
  explicit Admission(std::size_t limit) : limit_(limit) {}

  bool try_acquire(std::size_t n) {
    std::size_t old = in_flight_.load();
    do {
      if (n > limit_ || old > limit_ - n) return false;
    } while (!in_flight_.compare_exchange_weak(old, old + n));
    return true;
  }
  void release(std::size_t n) { in_flight_.fetch_sub(n); }
  std::size_t in_flight() const { return in_flight_.load(); }
  std::size_t limit() const { return limit_; }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> in_flight_{0};
};

// One place of an admission, already acquired, until whoever shares it has let go of it.
class AdmissionPlace {
 public:
  explicit AdmissionPlace(std::shared_ptr<Admission> admission) : admission_(std::move(admission)) {}
  ~AdmissionPlace() { admission_->release(1); }
  AdmissionPlace(const AdmissionPlace&) = delete;
  AdmissionPlace& operator=(const AdmissionPlace&) = delete;

 private:
  const std::shared_ptr<Admission> admission_;  // shared with all places
};

// One choice's or input's sink. It holds its place of the admission until the engine lets go of it.
class ChoiceSink final : public TokenSink {
 public:
  // shared: engine threads and the connection hold the queue for as long as either lives, and whoever follows
  // in the same place the place.
  ChoiceSink(std::shared_ptr<EventQueue> queue, std::shared_ptr<const AdmissionPlace> place,
             std::size_t stream)
      : queue_(std::move(queue)), place_(std::move(place)), stream_(stream) {}

  void on_route(const RouteEvent& event) override { queue_->push({stream_, event}); }
  void on_token(const TokenEvent& event) override {
    queue_->push({stream_, TokenArrival{event.token, std::chrono::steady_clock::now()}});
  }
  void on_finish(const FinishEvent& event) override { queue_->push({stream_, event}); }
  void on_error(const Error& error) override { queue_->push({stream_, error}); }

 private:
  std::shared_ptr<EventQueue> queue_;
  std::shared_ptr<const AdmissionPlace> place_;
  const std::size_t stream_;
};

}  // namespace baton::frontend
