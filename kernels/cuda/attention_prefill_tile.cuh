// What a warpgroup of resident prefill attention does with a tile of 128 positions: products, and what makes
// weights of scores. And the layout of shared memory that products need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace baton::cuda::attention {

// Named, since an unnamed namespace has warnings for what only some architectures use.
namespace resident {

inline constexpr int kRows = kPrefillTileRows;
inline constexpr int kGroupThreads = 128;
inline constexpr int kConsumerGroups = 2;
inline constexpr int kThreads = kGroupThreads * (1 + kConsumerGroups);
inline constexpr int kKeys = 128;
inline constexpr int kStages = 3;
inline constexpr int kColumns = 64;           // of a tile in shared memory: 128 bytes
inline constexpr int kTileBytes = 128 * 128;  // 128 rows of 128 bytes
inline constexpr int kMostBoxes = kKeys / 16;
inline constexpr int kPlaces = 8;   // remembered: the producer is at most four units ahead
inline constexpr int kTurn = 1;     // named barriers kTurn + consumer group
inline constexpr int kQueries = 3;  // + consumer group

template <class KvElement, int kDim>
struct Shape {
  using Kv = KvElement;
  using T = Product<Kv>;
  static constexpr bool kBytes = sizeof(Kv) == 1;
  static constexpr int kHeadDim = kDim;
  static constexpr int kColumnTiles = kDim / kColumns;
  // Queries, or one stage of keys or of values.
  static constexpr int kMatrixBytes = kColumnTiles * kTileBytes;
  static constexpr std::size_t kSharedBytes =
      1024 + static_cast<std::size_t>(1 + 2 * kStages) * kMatrixBytes + 128 + 32 * kPlaces;
  // Of 64 Ki registers; a copying thread that widens holds 64 of data.
  static constexpr int kProducerRegisters = kBytes ? 104 : 40;
  static constexpr int kConsumerRegisters = kBytes ? 200 : 232;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Chunk `chunk` (of 16 bytes) of row `row` of a matrix of column tiles.
__device__ __forceinline__ std::uint32_t chunk_offset(int row, int chunk) {
  return static_cast<std::uint32_t>(chunk / 8 * kTileBytes + row * 128 + ((chunk ^ row) & 7) * 16);
}

__device__ __forceinline__ void store_shared(std::uint32_t address, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}
__device__ __forceinline__ uint4 load_shared(std::uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// ---- Products

// Starts scores [64, 128] = queries x keys^T.
template <class S>
__device__ __forceinline__ void multiply_keys(float (&scores)[64], std::uint32_t queries,
                                              std::uint32_t keys) {
  const warpgroup::Operand a(queries, 16), b(keys, 16);
#pragma unroll
  for (int k = 0; k < S::kHeadDim / 16; ++k) {
    const int offset = k / 4 * kTileBytes + k % 4 * 32;
    warpgroup::multiply<typename S::T>(scores, a.at(offset), b.at(offset), k > 0);
  }
  warpgroup::commit();
}

// Starts out [64, head_dim] += weights x values.
template <class S>
__device__ __forceinline__ void multiply_values(float (&out)[S::kHeadDim / 2],
                                                const std::uint32_t (&weights)[32], std::uint32_t values) {
  const warpgroup::Operand b(values, kTileBytes);
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    warpgroup::multiply_add<typename S::T>(out, weights + 4 * k, b.at(k * 16 * 128));
  }
  warpgroup::commit();
}

// ---- Weights

// A row's weights are relative to the largest score it has seen, or to one up to 2^kSlack times smaller: so
// its sums are rarely rescaled, and 2^kSlack is nothing to f16. By the row alone, so that tiles do not show.
inline constexpr float kSlack = 8;

// A lane's two rows, g and g + 8 of its warp: elements 4j, 4j + 1 and 4j + 2, 4j + 3 of column tile j.
struct Softmax {
  float max[2] = {kNoScore, kNoScore};  // of raw scores, as far as it was followed
  float sum[2] = {};                    // over this lane's columns
};

// Hides keys behind the row's own position. `last`: that row g sees, counted from this lane's first column;
// row g + 8 sees 8 further.
__device__ __forceinline__ void hide_behind(float (&scores)[64], int last) {
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (i / 4 * 8 + i % 2 > last + i / 2 % 2 * 8) scores[i] = -INFINITY;
  }
}

// Hides keys before the row's window; `first` likewise.
__device__ __forceinline__ void hide_before(float (&scores)[64], int first) {
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (i / 4 * 8 + i % 2 < first + i / 2 % 2 * 8) scores[i] = -INFINITY;
  }
}

// Makes scores weights; `shrink` is what everything before them is now worth, mostly 1.
__device__ __forceinline__ void weigh(Softmax& softmax, float (&scores)[64], float scale_log2,
                                      float (&shrink)[2]) {
  float top[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    top[r] = fmaxf(scores[2 * r], scores[2 * r + 1]);
#pragma unroll
    for (int j = 1; j < 16; ++j) {
      top[r] = fmaxf(top[r], fmaxf(scores[4 * j + 2 * r], scores[4 * j + 2 * r + 1]));
    }
    top[r] = fmaxf(top[r], __shfl_xor_sync(kWholeWarp, top[r], 1));
    top[r] = fmaxf(top[r], __shfl_xor_sync(kWholeWarp, top[r], 2));
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float before = softmax.max[r];
    const float now = (top[r] - before) * scale_log2 > kSlack ? top[r] : before;
    shrink[r] = power_of_two((before - now) * scale_log2);
    softmax.max[r] = now;
    const float base = now * scale_log2;
    float sum[2] = {softmax.sum[r] * shrink[r], 0};
#pragma unroll
    for (int j = 0; j < 16; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[4 * j + 2 * r + e];
        score = power_of_two(fmaf(score, scale_log2, -base));
        sum[e] += score;
      }
    }
    softmax.sum[r] = sum[0] + sum[1];
  }
}

template <class T>
__device__ __forceinline__ void pack_weights(std::uint32_t (&weights)[32], const float (&scores)[64]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) weights[i] = pack<T>(scores[2 * i], scores[2 * i + 1]);
}

#endif

}  // namespace resident

}  // namespace baton::cuda::attention
