// The flags that say which model runs on which system by which engine, and how they become an EngineSetup.
// Shared by `baton estimate`, `baton plan` and `baton simulate`.
#pragma once

#include <string>
#include <vector>

#include "app/catalog.hpp"
#include "baton/base/config.hpp"
#include "baton/base/result.hpp"
#include "baton/plan/estimate.hpp"
#include "baton/plan/rows.hpp"

namespace baton {

struct DeploymentOptions {
  std::string model, system = "h200_sxm", decode_system, backend = "baton", precision, kv_dtype, link,
                     profile_file;
};
std::vector<ConfigRow> deployment_rows(DeploymentOptions& options);

// Everything but the split. `system`: where the decode engines stand elsewhere, their system.
Result<EngineSetup> find_engine(const DeploymentOptions& options, Catalog& catalog, bool decode = false);

// An error where `baton serve` cannot split a model so, whatever its GPUs; what other engines can is not
// asked.
Result<void> check_split(const EngineSetup& engine);

// A row of a table, or with `options` of the command line: these then decide precisions, link and systems.
Result<Estimate> estimate_row(DeploymentRow& row, const DeploymentOptions* options, Catalog& catalog,
                              std::string& provenance);

// "rdma400", "rdma200", "tcp25": bytes/s and seconds of latency.
struct Link {
  double bandwidth = 0, latency = 0;
};
Result<Link> parse_link(const std::string& name);

}  // namespace baton
