// SystemSpec: what a machine can do by its data sheet, and EngineProfile: what an engine reaches of that.
//
// Both are data: configs/systems/*.json and configs/systems/profiles/*.json. Every profile says where its
// numbers come from. All times are seconds, all rates per second.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"
#include "baton/model/shape.hpp"

namespace baton {

// What an engine reaches of a system: the coefficients of one (backend, system, precision).
struct Efficiency {
  double memory = 0.8, matmul = 0.6, attention = 0.5;  // of the data sheet's rates
  double layer = 10e-6;                                // seconds that a layer costs beside its operations
  // Of requests that share an engine, see plan/estimate.hpp.
  double slots = 0, mixing = 1, base = 20e-3, queue = 0.1;
};

// What holds wherever that engine runs.
struct EngineTraits {
  double step = 0;             // a step's fixed cost
  double sequence = 20e-6;     // host work for each sampled row
  double expert_layer = 6;     // what a layer of experts costs beside its operations, in dense layers
  double grouped = 0.6;        // of matmul: products of experts with few rows each
  double exchange = 5e-6;      // one collective among GPUs
  double exchange_gpu = 1e-6;  // and for each GPU in it
  double exchange_rate = 0.7;  // of the data sheet's
  double link = 0.85;          // of the link's rate: KV blocks to a peer
  double serial = 0;     // of the shorter of streaming and multiplying, what does not overlap with the longer
  double kv_memory = 0;  // of the memory's rate: reading K and V; 0: follows from attention's
  double first_steps = 0;                                 // decode steps before a new request's first token
  double crowd = 0.8, expert_base = 2, first_layers = 0;  // of queueing, see plan/estimate.hpp
  Precision quantized_kv = Precision::bf16;               // KV cache beside quantized weights, unless told
  // GPUs that share layers belong to one process, as Baton's do: each has all embeddings and routers, the
  // first gets the others' logits (f32), and one link carries the KV cache of all.
  bool one_process = false;
};

struct EngineProfile {
  std::string backend, version, provenance;
  Efficiency efficiency;
  EngineTraits traits;
};

// What a machine can do, per GPU (or per CPU): configs/systems/*.json.
struct SystemSpec {
  std::string name;
  std::string provenance;                               // "measured", "fitted" or "data sheet", and of what
  double flops_bf16 = 0, flops_fp8 = 0, flops_fp4 = 0;  // dense; 0: not in hardware
  double memory_bandwidth = 0;                          // bytes/s
  double memory_bytes = 0;
  double peer_bandwidth = 0;  // bytes/s to the GPUs beside it, one direction; 0: it stands alone
  double node_gpus = 1;
  double link_bandwidth = 0;  // bytes/s between two engines, for KV blocks
  double link_latency = 0;
  double jitter = 0;                   // of a step's time: its standard deviation, as a share
  std::optional<EngineProfile> baton;  // what Baton's own engine reaches there

  double flops(Precision precision) const;  // of products with weights stored so
};
// Errors name `file` and the key.
Result<SystemSpec> parse_system_spec(std::string_view json, const std::string& file);

// The profile of one backend on `system` with weights stored as `weights`, from the text of a file in
// configs/systems/profiles; where it has no entry for these, the backend's default, and the provenance says
// so.
Result<EngineProfile> parse_engine_profile(std::string_view json, const std::string& file,
                                           const std::string& system, Precision weights);

}  // namespace baton
