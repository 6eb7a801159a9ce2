// Engines that the planner's tests share: an 8B model on a card much like an H200.
#pragma once

#include "baton/plan/search.hpp"

namespace baton::plan_test {

inline ModelShape eight_billion() {
  ModelShape m;
  m.architecture = "LlamaForCausalLM";
  m.hidden = 4096, m.layers = m.attention_layers = m.dense_layers = 32, m.query_heads = 32, m.kv_heads = 8;
  m.head_dim = 128, m.ffn = 14336, m.vocab = 128256, m.max_positions = 131072;
  return m;
}

inline EngineSetup engine() {
  EngineSetup e;
  e.model = eight_billion();
  e.system.name = "card";
  e.system.provenance = "invented";
  e.system.flops_bf16 = 989e12, e.system.flops_fp8 = 1979e12;
  e.system.memory_bandwidth = 4.8e12, e.system.memory_bytes = 141e9, e.system.peer_bandwidth = 450e9;
  e.system.node_gpus = 8, e.system.link_bandwidth = 50e9, e.system.link_latency = 20e-6;
  e.profile.backend = "invented";
  return e;
}

// 70B parameters on 80 GB cards, as Baton's own engine has them.
inline EngineSetup seventy_billion() {
  EngineSetup e = engine();
  ModelShape& m = e.model;
  m.hidden = 8192, m.layers = m.attention_layers = m.dense_layers = 80, m.query_heads = 64;
  m.ffn = 28672;
  e.system.memory_bandwidth = 3.35e12, e.system.memory_bytes = 80e9;
  e.profile.backend = "baton";
  e.profile.traits.one_process = true;
  return e;
}

inline PlanRequest seventy_billion_request() {
  PlanRequest r;
  r.prefill = r.decode = seventy_billion();
  r.load = {4000, 500, 0};
  r.gpus = 16;
  r.ttft = 3, r.tpot = 0.05;
  r.limits = {.tensor = 8, .even_shares = true};
  r.top = 20;
  return r;
}

inline PlanRequest request() {
  PlanRequest r;
  r.prefill = r.decode = engine();
  r.load = {4000, 500, 0};
  r.gpus = 8;
  r.ttft = 1, r.tpot = 0.02;
  r.limits = {8, 1, 8, true};
  return r;
}

}  // namespace baton::plan_test
