// What the attention kernels share: asynchronous copies, matrix fragments, the swizzle of tiles in shared
// memory.
//
// Fragments, for lane = 4 * g + t of a warp (PTX ISA, mma.m16n8k16): of A (16 x 16) a lane holds rows g and g
// + 8, columns 2t, 2t + 1 and those + 8; of B (16 x 8) column g, rows 2t, 2t + 1 and those + 8; of C (16 x 8)
// rows g and g + 8, columns 2t and 2t + 1.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/convert.cuh"

namespace baton::cuda::attention {

inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr float kLog2E = 1.4426950408889634f;

// What the tensor cores multiply: e4m3 widens to f16, exactly.
template <class Kv>
using Product = std::conditional_t<std::is_same_v<Kv, e4m3>, f16, Kv>;

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Where 16-byte chunk `chunk` of row `row` lies in a tile of rows of kRowChunks chunks, in bytes: any eight
// consecutive rows of one chunk column then lie in different banks, which is what ldmatrix reads at once.
template <int kRowChunks>
__device__ __forceinline__ std::uint32_t swizzled(int row, int chunk) {
  static_assert(kRowChunks % 2 == 0);
  const int turn = kRowChunks % 8 == 0 ? row & 7 : kRowChunks % 4 == 0 ? (row >> 1) & 3 : (row >> 2) & 1;
  return static_cast<std::uint32_t>((row * kRowChunks + (chunk ^ turn)) * 16);
}

// ---- Copies from global to shared memory

// Sixteen bytes, or as many zeros where !valid; the source is then not read.
__device__ __forceinline__ void copy_async(std::uint32_t shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes)
               : "memory");
}
// The same, of what is read once: it is the first to leave the second-level cache.
__device__ __forceinline__ std::uint64_t leave_first() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void copy_async(std::uint32_t shared, const void* global, bool valid,
                                           std::uint64_t policy) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(shared), "l"(global),
               "r"(bytes), "l"(policy)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- Fragments

struct Fragment4 {
  std::uint32_t at[4];
};

// Four 8 x 8 matrices of 16-bit elements; lanes 8i..8i + 7 give the addresses of the rows of matrix i.
__device__ __forceinline__ Fragment4 load_matrices(std::uint32_t address) {
  Fragment4 r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.at[0]), "=r"(r.at[1]), "=r"(r.at[2]), "=r"(r.at[3])
               : "r"(address)
               : "memory");
  return r;
}
__device__ __forceinline__ Fragment4 load_matrices_transposed(std::uint32_t address) {
  Fragment4 r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.at[0]), "=r"(r.at[1]), "=r"(r.at[2]), "=r"(r.at[3])
               : "r"(address)
               : "memory");
  return r;
}
__device__ __forceinline__ std::uint32_t transpose(std::uint32_t matrix) {
  std::uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(matrix));
  return r;
}

template <class T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const Fragment4& a, std::uint32_t b0,
                                             std::uint32_t b1) {
  if constexpr (std::is_same_v<T, f16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
  }
}

// ---- Elements

__device__ __forceinline__ std::uint32_t bits(__half2 value) {
  return *reinterpret_cast<std::uint32_t*>(&value);
}
__device__ __forceinline__ std::uint32_t bits(__nv_bfloat162 value) {
  return *reinterpret_cast<std::uint32_t*>(&value);
}

// Two elements in one register, the first in the low half.
template <class T>
__device__ __forceinline__ std::uint32_t pack(float first, float second) {
  if constexpr (std::is_same_v<T, f16>) {
    return bits(__floats2half2_rn(first, second));
  } else {
    return bits(__floats2bfloat162_rn(first, second));
  }
}

__device__ __forceinline__ std::uint32_t pack(bool as_bf16, float first, float second) {
  return as_bf16 ? pack<bf16>(first, second) : pack<f16>(first, second);
}

// The two e4m3 in the low 16 bits as f16.
__device__ __forceinline__ std::uint32_t widen(std::uint32_t two) {
  return bits(__half2(__nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(two), __NV_E4M3)));
}

// Two bf16 as f16, clamped to what f16 holds.
__device__ __forceinline__ std::uint32_t narrow(std::uint32_t two) {
  const float first = __uint_as_float(two << 16), second = __uint_as_float(two & 0xffff0000u);
  return pack<f16>(fminf(fmaxf(first, -65504.f), 65504.f), fminf(fmaxf(second, -65504.f), 65504.f));
}

// 2^x; 2^-inf is 0.
__device__ __forceinline__ float power_of_two(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

// ---- Weights

// The maximum of no scores. A number, so that rows may meet tiles of which they see nothing: infinity less
// infinity is none.
inline constexpr float kNoScore = -1e36f;

// What makes a row's sums its result: weights are relative to `max` in units of log2, and so is their sum.
__device__ __forceinline__ float normalizer(const AttentionRows& rows, int head, float max, float sum) {
  if (rows.sinks == nullptr) return 1.f / sum;
  const float above = rows.sinks[head] * kLog2E - max;
  const float keep = power_of_two(fminf(-above, 0));
  return keep / fmaf(sum, keep, power_of_two(fminf(above, 0)));
}

// ---- Queries and results

// Puts eight elements of a query, `chunk` of row `row`, into a tile of rows of kChunks chunks. For e4m3 keys
// they become f16, and pairs trade places within 16 elements: ldmatrix gives lane t elements 4t..4t + 3 of a
// 16-byte chunk of keys, so the multiplied index 2t stands for element 4t, and 2t + 8 for 4t + 2. The sum
// over the index does not mind, so long as query and key agree.
template <class Kv, int kChunks>
__device__ __forceinline__ void place_query(std::byte* tile, int row, int chunk, uint4 eight, bool is_bf16) {
  if constexpr (sizeof(Kv) == 1) {
    const std::uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int pair = chunk % 2 * 4 + p, to = pair % 2 * 4 + pair / 2;
      *reinterpret_cast<std::uint32_t*>(tile + swizzled<kChunks>(row, chunk / 2 * 2 + to / 4) + to % 4 * 4) =
          is_bf16 ? narrow(pairs[p]) : pairs[p];
    }
  } else {
    *reinterpret_cast<uint4*>(tile + swizzled<kChunks>(row, chunk)) = eight;
  }
}

// Transposes a 4 x 4 matrix of registers over the four lanes of a quad: register i of lane t becomes register
// t of lane i.
__device__ __forceinline__ void transpose_quad(std::uint32_t (&r)[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t got = __shfl_xor_sync(kWholeWarp, odd ? r[i] : r[i + 1], 1);
    r[i] = odd ? got : r[i];
    r[i + 1] = odd ? r[i + 1] : got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t got = __shfl_xor_sync(kWholeWarp, upper ? r[i] : r[i + 2], 2);
    r[i] = upper ? got : r[i];
    r[i + 2] = upper ? r[i + 2] : got;
  }
}

// Writes one row of a head from C fragments: get(j, e) is element e (0 or 1) of the row in column tile j. A
// quad holds a row, and trades so that each lane writes 16 bytes at once.
template <int kDim, class Get>
__device__ __forceinline__ void write_row(std::uint16_t* target, bool as_bf16, bool exists, float inverse,
                                          Get get) {
#pragma unroll
  for (int j = 0; j < kDim / 8; j += 4) {
    std::uint32_t four[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = pack(as_bf16, get(j + i, 0) * inverse, get(j + i, 1) * inverse);
    transpose_quad(four);
    if (exists) {
      *reinterpret_cast<uint4*>(target + 8 * (j + static_cast<int>(threadIdx.x) % 4)) =
          make_uint4(four[0], four[1], four[2], four[3]);
    }
  }
}

}  // namespace baton::cuda::attention
