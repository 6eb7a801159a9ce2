// Boxes of the paged cache for the copy engine.
#pragma once

#include "kernels/cuda/paged_kv.hpp"
#include "kernels/cuda/tensor_map.cuh"

namespace baton::cuda::attention {

// All pieces that lie `offset` bytes behind pieces of keys, of elements of 16 bits, as [block][KV
// head][token] [dim]; a box is [rows][columns] of one of them. False if the driver can not describe them.
inline bool map_pieces(TensorMap& map, const PagedKv& kv, std::int64_t offset, int columns, int rows) {
  if (kv.block_stride <= 0 || kv.head_stride <= 0) return false;
  // Nobody tells how many blocks there are: as many as any memory holds.
  constexpr std::int64_t kMostMemory = std::int64_t{1} << 39;
  const auto size = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  const cuuint64_t sizes[] = {size(kv.head_dim), size(kv.block_size), size(kv.kv_heads),
                              size(kMostMemory / kv.block_stride + 1)};
  const cuuint64_t strides[] = {size(kv.head_dim * 2), size(kv.head_stride), size(kv.block_stride)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(rows), 1, 1};
  return map_array(map, kv.base + offset, 4, sizes, strides, box);
}

// Starts the copy of a box; its bytes count at the barrier.
__device__ __forceinline__ void copy_box(const TensorMap& map, std::uint32_t to, std::uint32_t barrier,
                                         int column, int token, int head, int block) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
      "%6}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(token), "r"(head), "r"(block)
      : "memory");
}

}  // namespace baton::cuda::attention
