// The block index's numbers on /metrics. Router thread.
#pragma once

#include "baton/base/metrics.hpp"
#include "baton/router/block_index.hpp"

namespace baton {

class IndexMetrics {
 public:
  explicit IndexMetrics(MetricsRegistry& registry)
      : entries_(registry.gauge("baton_index_entries", "Pairs of block and engine in the block index")),
        bytes_(registry.gauge("baton_index_bytes", "Memory of the block index")),
        dropped_(registry.counter("baton_index_dropped_total",
                                  "Pairs that the block index did not remember for lack of memory")),
        gaps_(registry.counter("baton_index_gaps_total", "Gaps in engines' block events")),
        drifts_(registry.counter("baton_index_drifts_total",
                                 "Times that an engine held other blocks than its events had said")) {}

  void update(const BlockIndex& index) {
    entries_.set(static_cast<double>(index.size()));
    bytes_.set(static_cast<double>(index.memory_bytes()));
    follow(dropped_, index.dropped());
    follow(gaps_, index.gaps());
    follow(drifts_, index.drifts());
  }

 private:
  static void follow(Counter& counter, std::uint64_t total) {
    const double growth = static_cast<double>(total) - counter.value();
    if (growth > 0) counter.add(growth);
  }

  Gauge& entries_;
  Gauge& bytes_;
  Counter& dropped_;
  Counter& gaps_;
  Counter& drifts_;
};

}  // namespace baton
