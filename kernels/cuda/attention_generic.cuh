// The plain attention behind both entries, for whatever the tensor-core kernels do not cover, and what the
// three files ask of their arguments.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention.hpp"

namespace baton::cuda::attention {

inline std::int32_t block_shift(std::int32_t block_size) {
  std::int32_t shift = 0;
  while ((1 << shift) < block_size) ++shift;
  return shift;
}

inline bool valid(const AttentionRows& rows, const PagedKv& kv) {
  return kv.kv_heads > 0 && kv.head_dim > 0 && kv.head_dim <= 512 && rows.query_heads % kv.kv_heads == 0 &&
         kv.block_size > 0 && (kv.block_size & (kv.block_size - 1)) == 0 && rows.element != Element::e4m3 &&
         rows.window > 0;
}

// Elements and alignment; each kernel has its own list of head dims and groups.
inline bool tensor_cores_can(const AttentionRows& rows, const PagedKv& kv) {
  const bool elements =
      rows.element != Element::f32 && (kv.element == rows.element || kv.element == Element::e4m3);
  const auto address = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  const bool alignment = rows.query_stride % 8 == 0 && address(rows.queries) % 16 == 0 &&
                         address(rows.out) % 16 == 0 && address(kv.base) % 16 == 0 &&
                         kv.block_stride % 16 == 0 && kv.head_stride % 16 == 0 && kv.value_offset % 16 == 0;
  return elements && alignment && kv.block_size >= 16;
}

cudaError_t generic_decode(const DecodeAttention& attention, cudaStream_t stream);
cudaError_t generic_prefill(const PrefillAttention& attention, cudaStream_t stream);

}  // namespace baton::cuda::attention
