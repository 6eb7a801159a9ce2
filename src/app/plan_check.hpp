// The two ends of a plan that touch the world: measuring the machine it is for, and the deployment it made.
#pragma once

#include <string>
#include <vector>

#include "baton/base/config.hpp"
#include "baton/base/result.hpp"
#include "baton/plan/search.hpp"

namespace baton {

struct PlanCheckOptions {
  std::string calibrate;  // the system file to write
  std::string verify;     // URL of a server
  std::int32_t concurrency = 0, requests = 0, threads = 0;
};
std::vector<ConfigRow> plan_check_rows(PlanCheckOptions& options);

// Measures this machine's engine and memory and writes a system file for --system.
Result<void> calibrate(const PlanCheckOptions& options);
// Measures the server at `verify` under the plan's load, and prints what was predicted beside it.
Result<void> verify(const PlanCheckOptions& options, const PlanRequest& request);

}  // namespace baton
