// A Llama of any shape with random weights, made on the GPU itself: a checkpoint of eight gigabytes would
// take longer to write than the benchmark takes to run. The checkpoint's file is there, but empty (sparse).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "baton/model/model.hpp"
#include "tensor/cuda/ops.hpp"

namespace baton::gpu {

struct ModelSize {
  std::string name;
  std::int32_t hidden, layers, query_heads, kv_heads, head_dim, ffn, vocab;
  bool fp8 = false;             // layers' products in e4m3, rows rounded where there are many
  double weight_bytes() const;  // that a decode step reads: without the embedding table
  double kv_bytes_per_token(DType kv) const;
  double prefill_flops(double tokens) const;  // of a prompt, causal attention and one row of logits included
};

ModelSize nemotron_4b();
ModelSize llama_8b();
ModelSize in_fp8(ModelSize size);

// CudaOps whose weights are random numbers, whatever the checkpoint says.
std::unique_ptr<CudaOps> make_random_ops(const OpsOptions& options);
std::unique_ptr<Model> make_random_model(const ModelSize& size, CudaOps& ops);

// [count] bf16 values in (-width, width); `bytes` of finite e4m3 values.
cudaError_t fill_random(void* data, std::int64_t count, float width, std::uint32_t seed, cudaStream_t stream);
cudaError_t fill_random_e4m3(void* data, std::int64_t bytes, std::uint32_t seed, cudaStream_t stream);

}  // namespace baton::gpu
