// What the skinny product is made of: asynchronous copies, tensor-core fragments, e4m3 to two-byte floats,
// the cluster's shared memory, and how results are stored.
#pragma once

#include <cstdint>

#include "kernels/cuda/convert.cuh"

namespace baton::cuda {

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Sixteen bytes, or zeros where the source is not `inside`; then nothing is read.
__device__ __forceinline__ void copy16(std::uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(inside ? 16 : 0)
               : "memory");
}

__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ uint4 load_shared16(std::uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

__device__ __forceinline__ uint2 load_shared8(std::uint32_t address) {
  uint2 value;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(address) : "memory");
  return value;
}

// The 128 bytes around `at`, to L2.
__device__ __forceinline__ void prefetch_line(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(at)) : "memory");
}

__device__ __forceinline__ uint4 load_past_l1(const void* from) {
  return __ldcg(static_cast<const uint4*>(from));
}

// sum[16 tokens x 8 outputs] += a[16 x 16] b[16 x 8].
template <class T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<bf16>(float (&sum)[4], const std::uint32_t (&a)[4],
                                                   std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_add<f16>(float (&sum)[4], const std::uint32_t (&a)[4],
                                                  std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two e4m3 in the upper bytes of the halves of `codes`, exactly (NaN apart). Shifted so that exponent and
// mantissa lie at the wider type's places they are too small by the difference of the biases, which a product
// puts right, subnormal numbers included; the -0 keeps the sign of zero.
template <class T>
__device__ __forceinline__ std::uint32_t widen(std::uint32_t codes);
template <>
__device__ __forceinline__ std::uint32_t widen<bf16>(std::uint32_t codes) {
  const std::uint32_t small = (codes & 0x80008000U) | ((codes >> 4) & 0x07f007f0U);
  std::uint32_t value;  // * 2^120
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(value) : "r"(small), "r"(0x7b807b80U), "r"(0x80008000U));
  return value;
}
template <>
__device__ __forceinline__ std::uint32_t widen<f16>(std::uint32_t codes) {
  const std::uint32_t small = (codes & 0x80008000U) | ((codes >> 1) & 0x3f803f80U);
  std::uint32_t value;  // * 2^8
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(value) : "r"(small), "r"(0x5c005c00U), "r"(0x80008000U));
  return value;
}

// The first and the last two of four e4m3 that lie in one word.
template <class T>
__device__ __forceinline__ std::uint32_t widen_low(std::uint32_t word) {
  return widen<T>(__byte_perm(word, 0, 0x1404));
}
template <class T>
__device__ __forceinline__ std::uint32_t widen_high(std::uint32_t word) {
  return widen<T>(__byte_perm(word, 0, 0x3424));
}

__device__ __forceinline__ void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
#endif
}

// Four floats at the same shared address of another block of the cluster.
__device__ __forceinline__ float4 load_cluster16(std::uint32_t address, int rank) {
  float4 value = {};
#if __CUDA_ARCH__ >= 900
  std::uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(there)
               : "memory");
#endif
  return value;
}

// The first `count` of four neighbouring results.
template <class Y>
__device__ __forceinline__ void store4(Y* to, const float (&value)[4], int count) {
  Pack<Y, 4> pack;
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.at[i] = from_float<Y>(value[i]);
  if (count == 4 && reinterpret_cast<std::uintptr_t>(to) % sizeof(pack) == 0) {
    *reinterpret_cast<Pack<Y, 4>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) to[i] = pack.at[i];
  }
}

}  // namespace baton::cuda
