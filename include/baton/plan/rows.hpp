// Rows of a table of deployments: AIConfigurator's columns, as its measurements are published.
//
// One line of CSV for each deployment, a header first, columns in any order; those that are not known are
// passed over, those that are missing or empty have defaults. Wide deployments are written in more than one
// way by those who publish; Split is the one way here.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/plan/estimate.hpp"

namespace baton {

// Parallel sizes as the columns have them. 0: not given.
struct SplitColumns {
  double tensor = 0, pipeline = 0, data = 0, expert_tensor = 0, expert_parallel = 0;
};
// One engine's split; `experts`: the model has routed experts.
Split split_of(SplitColumns columns, bool experts);

struct DeploymentRow {
  std::string backend, version, model, system;
  Precision precision = Precision::bf16;
  bool disaggregated = false;
  Workload load;
  double batch = 1;  // concurrent requests of an aggregated engine
  SplitColumns split, prefill, decode;
  double prefill_batch = 1, prefill_workers = 1, decode_batch = 1, decode_workers = 1;
};

// Errors name `file`, the line and the column.
Result<std::vector<DeploymentRow>> read_rows(std::istream& in, const std::string& file);

}  // namespace baton
