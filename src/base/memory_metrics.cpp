#include "baton/base/memory_metrics.hpp"

#include <atomic>

namespace baton {
namespace {

void atomic_add(std::atomic<double>& target, double amount) {
  double old = target.load(std::memory_order_relaxed);
  while (!target.compare_exchange_weak(old, old + amount, std::memory_order_relaxed)) {
  }
}

struct MemoryCounter final : Counter {
  std::atomic<double> total{0};
  void add(double amount) override { atomic_add(total, amount); }
  double value() const override { return total.load(std::memory_order_relaxed); }
};

struct MemoryGauge final : Gauge {
  std::atomic<double> current{0};
  void set(double value) override { current.store(value, std::memory_order_relaxed); }
  void add(double amount) override { atomic_add(current, amount); }
  double value() const override { return current.load(std::memory_order_relaxed); }
};

struct MemoryHistogram final : Histogram {
  void observe(double) override {}
};

}  // namespace

struct MemoryMetrics::State {
  using Key = std::pair<std::string, Labels>;
  std::mutex mutex;
  std::map<Key, MemoryCounter> counters;
  std::map<Key, MemoryGauge> gauges;
  std::map<Key, MemoryHistogram> histograms;
};

MemoryMetrics::MemoryMetrics() : state_(std::make_unique<State>()) {}
MemoryMetrics::~MemoryMetrics() = default;

Counter& MemoryMetrics::counter(const std::string& name, const std::string&, const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->counters[{name, labels}];
}

Gauge& MemoryMetrics::gauge(const std::string& name, const std::string&, const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->gauges[{name, labels}];
}

Histogram& MemoryMetrics::histogram(const std::string& name, const std::string&, const std::vector<double>&,
                                    const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->histograms[{name, labels}];
}

}  // namespace baton
