// The copy engine (TMA, sm_90 and later): boxes of the paged cache, brought to shared memory by one
// instruction under the 128-byte swizzle of warpgroup.cuh.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/paged_kv.hpp"

namespace baton::cuda::attention {

using TensorMap = CUtensorMap;

// All pieces that lie `offset` bytes behind pieces of keys, of elements of 16 bits, as [block][KV
// head][token] [dim]; a box is [rows][columns] of one of them. False if the driver can not describe them.
// Links no driver: its function is looked up.
inline bool map_pieces(TensorMap& map, const PagedKv& kv, std::int64_t offset, int columns, int rows) {
  using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                              const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                                cudaEnableDefault, &found);
    return status == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function)
                                                                         : nullptr;
  }();
  if (encode == nullptr || kv.block_stride <= 0 || kv.head_stride <= 0) return false;
  // Nobody tells how many blocks there are: as many as any memory holds.
  constexpr std::int64_t kMostMemory = std::int64_t{1} << 39;
  const auto size = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  const cuuint64_t sizes[] = {size(kv.head_dim), size(kv.block_size), size(kv.kv_heads),
                              size(kMostMemory / kv.block_stride + 1)};
  const cuuint64_t strides[] = {size(kv.head_dim * 2), size(kv.head_stride), size(kv.block_stride)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(rows), 1, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  return encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, kv.base + offset, sizes, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
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
