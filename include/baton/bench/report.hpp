// What `baton bench` prints and writes. The exports have AIPerf's metric tags and units.
#pragma once

#include <iosfwd>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "baton/base/chart.hpp"
#include "baton/bench/statistics.hpp"

namespace baton::bench {

struct BenchRun {
  std::string label;  // "concurrency 8"
  RunResult result;
  Summary summary;
  std::map<std::string, std::vector<double>> server;  // its metrics, one value for each scrape
};

void print_table(std::ostream& out, const BenchRun& run);
nlohmann::json to_json(const BenchRun& run);
void write_csv(std::ostream& out, const BenchRun& run);      // a line for each metric
void write_records(std::ostream& out, const BenchRun& run);  // JSONL, a line for each request
// TTFT and ITL over the time at which requests were sent; with several runs latency against throughput, too.
std::vector<Chart> charts(std::span<const BenchRun> runs);

// Prometheus' text: the value of each series, its labels part of its name.
std::map<std::string, double> parse_metrics(std::string_view text);

}  // namespace baton::bench
