// Rotary embedding and the store into the paged KV cache, fused over the rows of a qkv projection, or apart.
// Pairs are (i, i + head_dim / 2), Hugging Face's order (Su et al. 2021). Any even head_dim up to 512. Rows
// with position -1 are left alone.
//
// `cos_sin` [positions][head_dim / 2] holds {cos, sin} of the angle, times RopeTable::scale, computed on the
// host in double. Values are stored rounded to nearest even, NaN kept; f16 and bf16 keep infinities, e4m3
// saturates at ±448.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/paged_kv.hpp"
#include "kernels/cuda/rows.hpp"
#include "kernels/cuda/step.hpp"

namespace baton::cuda {

inline constexpr std::int32_t kMaxHeadDim = 512;

struct RopeStore {
  Rows qkv;  // [rows, (query_heads + 2 * kv.kv_heads) * kv.head_dim]: q is rotated in place, k and v only
             // stored
  std::int32_t query_heads = 0;
  const float* query_norm =
      nullptr;  // [head_dim] or null: rms norm of every head of q before the rotation (Qwen 3)
  const float* key_norm = nullptr;  // likewise, of k
  float norm_epsilon = 1e-6F;
  const float2* cos_sin = nullptr;
  StepTables step;
  PagedKv kv;
};
cudaError_t rope_store(const RopeStore& args, cudaStream_t stream);

// In place, heads [rows, n * head_dim], positions [rows] on the device.
cudaError_t rope(const Rows& heads, std::int32_t head_dim, const std::int32_t* positions,
                 const float2* cos_sin, cudaStream_t stream);

// k and v [rows, kv_heads * head_dim], each with its own stride, the same element.
cudaError_t store_kv(const ConstRows& k, const ConstRows& v, const StepTables& step, const PagedKv& kv,
                     cudaStream_t stream);

}  // namespace baton::cuda
