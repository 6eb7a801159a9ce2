// What `baton simulate` prints: one row for each policy and load, as a table, JSON, CSV or a picture.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "baton/sim/simulation.hpp"

namespace baton {

struct SimRun {
  std::string policy;
  double load = 1;
  SimOptions options;
  SimReport report;
  SimSummary summary;
};

void print_table(std::ostream& out, std::span<const SimRun> runs);
void print_engines(std::ostream& out, const SimReport& report);
nlohmann::json to_json(std::span<const SimRun> runs);
void write_csv(std::ostream& out, std::span<const SimRun> runs);  // a line for each request
// Mean TTFT and goodput over the load, a line for each policy; with a single load, the distribution of TTFT.
void write_svg(std::ostream& out, std::span<const SimRun> runs);

}  // namespace baton
