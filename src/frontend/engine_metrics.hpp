// The engine's own numbers on /metrics: copied from EngineStats at each scrape.
//
// Invariant: counters follow the engine's totals and never fall. Thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "baton/base/metrics.hpp"
#include "baton/schedule/service.hpp"

namespace baton::frontend {

class EngineMetrics {
 public:
  EngineMetrics(MetricsRegistry& registry, const std::string& model_name);
  void update(const EngineStats& stats);

 private:
  struct Total {
    Counter* counter;
    std::uint64_t EngineStats::*field;
  };
  struct Level {
    Gauge* gauge;
    std::uint64_t EngineStats::*field;
  };

  std::mutex mutex_;  // two scrapes at once would add the same growth twice
  std::vector<Total> totals_;
  std::vector<Level> levels_;
  Gauge& cache_usage_;
  Gauge& blocks_in_use_;
  Gauge& blocks_cached_;
  Gauge& blocks_free_;
  std::vector<std::pair<std::string, Gauge*>> roles_;
};

}  // namespace baton::frontend
