// Asking for memory that a later kernel will read: it travels to L2 while this one computes.
#pragma once

#include <cstdint>

namespace baton::cuda {

// By all blocks of a grid, in any of their threads: each block's first thread asks for its share and waits
// for nothing. Only for what no kernel in flight writes. `data` null or not aligned to sixteen bytes:
// nothing.
__device__ __forceinline__ void prefetch_to_l2(const void* data, std::int64_t bytes) {
#if __CUDA_ARCH__ >= 900
  constexpr std::int64_t kPiece = 16 * 1024;
  if (data == nullptr || (threadIdx.x | threadIdx.y | threadIdx.z) != 0) return;
  const std::uint64_t start = __cvta_generic_to_global(data);
  if (start % 16 != 0) return;
  const std::int64_t block =
      blockIdx.x +
      static_cast<std::int64_t>(gridDim.x) * (blockIdx.y + static_cast<std::int64_t>(gridDim.y) * blockIdx.z);
  const std::int64_t blocks = static_cast<std::int64_t>(gridDim.x) * gridDim.y * gridDim.z;
  for (std::int64_t at = block * kPiece; at < bytes; at += blocks * kPiece) {
    const auto size = static_cast<std::uint32_t>(bytes - at < kPiece ? bytes - at : kPiece) & ~15U;
    if (size == 0) return;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(start + at), "r"(size) : "memory");
  }
#endif
}

}  // namespace baton::cuda
