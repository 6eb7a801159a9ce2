// The serving loop without HTTP: scheduler, executor and model, as the engine runs them, under a closed load.
#pragma once

#include "ceilings.hpp"
#include "random_model.hpp"

namespace baton::gpu {

struct ServingOptions {
  std::int32_t prompt = 4000;  // tokens
  std::int32_t output = 500;
  std::int32_t batch_tokens = 1024;  // rows of a step at most
  std::vector<std::int32_t> concurrency;
  double seconds = 4;                 // measured at each concurrency, after it has settled
  double tpot = 0.01667, ttft = 0.6;  // targets, seconds
  DType kv = DType::bf16;
};

void serving_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings,
                   const ServingOptions& options);

// Decode steps of `rows` sequences at `context` tokens; prefill of one prompt of `tokens`.
void decode_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings, DType kv,
                  std::int32_t rows, std::int32_t context);
void prefill_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings, DType kv,
                   std::int32_t tokens, std::int32_t chunk);

}  // namespace baton::gpu
