// The files that run a choice: a baton.toml for each daemon, and what starts them by hand, with Docker
// Compose, systemd and Kubernetes. Only for choices that `baton serve` can run. Pure: paths and texts.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "baton/plan/search.hpp"

namespace baton {

struct DeploymentNames {
  std::string model_directory;  // where the checkpoint lies on each node
  std::string served_name;
  std::string device = "cuda";  // or "cpu"
  double kv_bytes_cpu = 0;      // for the KV cache of a CPU engine
  int max_context = 0;          // tokens of prompt and answer
  std::string rdma_resource =
      {};  // Kubernetes' name of RDMA devices; empty: KV blocks travel over what there is
};

// What an engine is told: sequences and rows of a step.
struct EngineLimits {
  int sequences = 1, batch_tokens = 512;
};
EngineLimits engine_limits(const Choice& choice, const PlanRequest& request, std::string_view role);

// Relative path to text. One daemon for each engine of every replica, all in one cluster.
std::map<std::string, std::string> deployment_files(const Choice& choice, const PlanRequest& request,
                                                    const DeploymentNames& names);

}  // namespace baton
