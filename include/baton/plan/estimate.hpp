// What one exact deployment does under a steady load: latencies, throughput, memory, by the PerfModel.
//
// The load is a closed loop: a fixed number of requests is always there, a new one comes when one ends, as
// NVIDIA's tools and published measurements have it. Aggregated engines mix the prompts of new requests into
// the decoding of the others; disaggregated ones have engines for each, and move the KV cache between them.
// Units are seconds, bytes, tokens.
#pragma once

#include <string>
#include <vector>

#include "baton/schedule/perf_model.hpp"

namespace baton {

struct Workload {
  double input = 0, output = 0;  // tokens of each request
  double prefix = 0;             // of the input, in the prefix cache already
};

struct Memory {  // on the fullest GPU, bytes
  double weights = 0, kv = 0, other = 0, total = 0;
  double kv_requests = 0;  // requests whose KV cache fits, the whole engine
  bool fits = false;       // the weights, and all requests at once
};

struct Operation {
  std::string name;
  double prefill = 0, decode = 0;  // seconds of one step
};

struct Estimate {
  double ttft = 0, tpot = 0, latency = 0;
  double tokens_per_gpu = 0, tokens_per_user = 0;  // output tokens/s
  double requests_per_second = 0;                  // of the whole deployment
  double concurrency = 0, gpus = 0;
  double transfer = 0;       // of TTFT: the KV cache that is under way when the prefill is done
  double kv_per_prompt = 0;  // bytes that move for each request
  double link_utilised = 0;  // of the busiest link
  double prefill_utilised = 1, decode_utilised = 1;
  Memory prefill_memory, decode_memory;  // the same where engines do both
  std::vector<Operation> operations;
};

Memory memory_needed(const EngineSetup& setup, const Workload& load, double requests);

// One engine, `concurrency` requests at a time.
Estimate estimate_aggregated(const EngineSetup& setup, const Workload& load, double concurrency);

struct Disaggregated {
  EngineSetup prefill, decode;
  double prefill_workers = 1, decode_workers = 1;
  double prefill_batch = 1;  // prompts in a step
  double decode_batch = 1;   // requests at a time on each decode engine
};
Estimate estimate_disaggregated(const Disaggregated& setup, const Workload& load);

}  // namespace baton
