// A MetricsRegistry that only remembers: for tests, tools and engines without a frontend.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "baton/base/metrics.hpp"

namespace baton {

class MemoryMetrics final : public MetricsRegistry {
 public:
  MemoryMetrics();
  ~MemoryMetrics() override;
  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {}) override;
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {}) override;
  Histogram& histogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                       const Labels& labels = {}) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
