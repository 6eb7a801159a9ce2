// Metrics of a run, by AIPerf's definitions.
//
// TTFT: send to first non-empty content. Time to second token: first to second content. Request latency: send
// to last content. ITL = (request latency - TTFT) / (output tokens - 1). Throughputs count completed requests
// over the time from the first send to the last answer. Percentiles interpolate linearly, as numpy's do; the
// deviation is the population's.
#pragma once

#include <string>
#include <vector>

#include "baton/bench/record.hpp"

namespace baton::bench {

struct Spread {
  double avg = 0, min = 0, max = 0, std = 0;
  double p1 = 0, p5 = 0, p10 = 0, p25 = 0, p50 = 0, p75 = 0, p90 = 0, p95 = 0, p99 = 0;
  std::size_t count = 0;
};
Spread spread_of(std::vector<double> values);
double percentile(const std::vector<double>& sorted, double percent);

struct Metric {
  std::string tag;   // "time_to_first_token", as in AIPerf's exports
  std::string name;  // "Time to First Token"
  std::string unit;  // "ms", "requests/sec", ...
  Spread spread;     // of a single figure: avg alone counts
  bool single = false;
};

struct Goodput {
  double ttft = 0, itl = 0, latency = 0;  // seconds; 0: no limit
  bool any() const { return ttft > 0 || itl > 0 || latency > 0; }
  bool good(const Record& record) const;
};

struct Summary {
  std::vector<Metric> metrics;
  std::size_t completed = 0, failed = 0, cancelled = 0;
  double seconds = 0;
  const Metric* find(const std::string& tag) const;
};
Summary summarize(const RunResult& run, const Goodput& goodput);

// Seconds.
double ttft(const Record& record);
double latency(const Record& record);
double inter_token_latency(const Record& record);  // 0 where there is a single token

}  // namespace baton::bench
