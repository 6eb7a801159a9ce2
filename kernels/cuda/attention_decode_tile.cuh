// What one warp of decode attention does with a tile of 16 positions, in registers: scores, weights, sums.
//
// Products are transposed: scores^T [tokens, heads] = keys x queries^T and out^T [dims, heads] = values^T x
// weights^T, so that tokens fill the tensor cores' 16 rows and a group of up to 8 heads wastes little of
// their 8 columns.
#pragma once

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_parts.cuh"

namespace baton::cuda::attention::decode {

inline constexpr int kConsumers = 4;  // warps
inline constexpr int kConsumerThreads = kConsumers * 32;
inline constexpr int kThreads = kConsumerThreads + 64;
inline constexpr int kTileTokens = 16;
inline constexpr int kTiles = kSplitTokens / kTileTokens;
inline constexpr int kSteps = kTiles / kConsumers;

template <class KvElement, int kDim, int kHeadTilesOf8>
struct Shape {
  using Kv = KvElement;
  using T = Product<Kv>;
  static constexpr bool kBytes = sizeof(Kv) == 1;
  static constexpr int kHeadDim = kDim;
  static constexpr int kHeadTiles = kHeadTilesOf8;
  static constexpr int kHeads = 8 * kHeadTiles;
  static constexpr int kRowBytes = kDim * static_cast<int>(sizeof(Kv));
  static constexpr int kRowChunks = kRowBytes / 16;
  static constexpr int kTileBytes = kTileTokens * kRowBytes;
  // Two to four tiles of keys and values in flight per warp, about 16 KiB.
  static constexpr int kStages = 8192 / kTileBytes < 2 ? 2 : 8192 / kTileBytes > 4 ? 4 : 8192 / kTileBytes;
  static_assert(kStages <= kSteps, "a warp copies at most one unit ahead: the scout promises no more");
  static constexpr int kRingBytes = kStages * 2 * kTileBytes;  // of one warp
  static constexpr int kQueryBytes = kHeads * kDim * 2;
  static constexpr int kSumStride = kDim + 4;  // 4: the writes of a warp then fall into 32 banks
  static constexpr int kDimTiles = kDim / 16;
};

template <class S>
struct State {
  float out[S::kHeadTiles][S::kDimTiles][4];
  float max[S::kHeadTiles][2];  // of heads 2t and 2t + 1, of raw scores
  float sum[S::kHeadTiles][2];  // over this lane's tokens
};

// The queries of a unit of work, on a warp's way to shared memory.
template <class S>
struct Queries {
  static constexpr int kChunks = S::kHeadDim / 8;
  static constexpr int kCount = S::kHeads * kChunks / 32;
  static_assert(S::kHeads * kChunks % 32 == 0);
  uint4 at[kCount];

  __device__ __forceinline__ void load(const std::uint16_t* source, int group) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int c = static_cast<int>(threadIdx.x) % 32 + 32 * j;
      at[j] = make_uint4(0, 0, 0, 0);
      if (c / kChunks < group) at[j] = *reinterpret_cast<const uint4*>(source + c * 8);
    }
  }
  __device__ __forceinline__ void store(std::byte* target, bool is_bf16) const {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int c = static_cast<int>(threadIdx.x) % 32 + 32 * j;
      place_query<typename S::Kv, kChunks>(target, c / kChunks, c % kChunks, at[j], is_bf16);
    }
  }
};

// Keys of two adjacent 16-byte chunks as A fragments: 16 elements of 16 bits, or two times 16 of bytes.
template <class S>
__device__ __forceinline__ void scores_of_tile(
    float (&scores)[S::kHeadTiles][4], std::uint32_t keys,
    const std::uint32_t (&queries)[S::kHeadTiles][S::kHeadDim / 8]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float odd[S::kHeadTiles][4] = {};  // a second chain of sums halves the latency
#pragma unroll
  for (int h = 0; h < S::kHeadTiles; ++h) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[h][e] = 0;
  }
#pragma unroll
  for (int c = 0; c < S::kRowChunks / 2; ++c) {
    const Fragment4 loaded = load_matrices(keys + swizzled<S::kRowChunks>(lane % 16, 2 * c + lane / 16));
    if constexpr (S::kBytes) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t upper = loaded.at[2 * half], lower = loaded.at[2 * half + 1];  // rows g and g + 8
        const Fragment4 a{widen(upper & 0xffff), widen(lower & 0xffff), widen(upper >> 16),
                          widen(lower >> 16)};
#pragma unroll
        for (int h = 0; h < S::kHeadTiles; ++h) {
          multiply_add<typename S::T>(half == 0 ? scores[h] : odd[h], a, queries[h][4 * c + 2 * half],
                                      queries[h][4 * c + 2 * half + 1]);
        }
      }
    } else {
#pragma unroll
      for (int h = 0; h < S::kHeadTiles; ++h) {
        multiply_add<typename S::T>(c % 2 == 0 ? scores[h] : odd[h], loaded, queries[h][2 * c],
                                    queries[h][2 * c + 1]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < S::kHeadTiles; ++h) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[h][e] += odd[h][e];
  }
}

// Takes the scores of a tile into the running maximum and sum, and makes them weights, as B fragments. Tokens
// first_token to last_token are seen, at least one of the tile's.
template <class S>
__device__ __forceinline__ void weigh(State<S>& state, float (&scores)[S::kHeadTiles][4], int first_token,
                                      int last_token, float scale_log2,
                                      std::uint32_t (&weights)[S::kHeadTiles][2]) {
  const int row = static_cast<int>(threadIdx.x) % 32 / 4;
  const auto hidden = [&](int token) {  // before the first, or behind the last
    return static_cast<unsigned>(token - first_token) > static_cast<unsigned>(last_token - first_token);
  };
#pragma unroll
  for (int h = 0; h < S::kHeadTiles; ++h) {
    float shrink[2];
    bool grew = false;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (hidden(row)) scores[h][e] = -INFINITY;
      if (hidden(row + 8)) scores[h][e + 2] = -INFINITY;
      float top = fmaxf(scores[h][e], scores[h][e + 2]);
#pragma unroll
      for (int other = 4; other < 32; other *= 2) top = fmaxf(top, __shfl_xor_sync(kWholeWarp, top, other));
      const float before = state.max[h][e];
      const float now = fmaxf(before, top);
      shrink[e] = power_of_two((before - now) * scale_log2);
      grew |= now > before;
      state.max[h][e] = now;
      const float base = now * scale_log2;
      scores[h][e] = power_of_two(fmaf(scores[h][e], scale_log2, -base));
      scores[h][e + 2] = power_of_two(fmaf(scores[h][e + 2], scale_log2, -base));
      state.sum[h][e] = state.sum[h][e] * shrink[e] + (scores[h][e] + scores[h][e + 2]);
    }
    if (__any_sync(kWholeWarp, grew)) {
#pragma unroll
      for (int d = 0; d < S::kDimTiles; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) state.out[h][d][e] *= shrink[e % 2];
      }
    }
    weights[h][0] = transpose(pack<typename S::T>(scores[h][0], scores[h][1]));
    weights[h][1] = transpose(pack<typename S::T>(scores[h][2], scores[h][3]));
  }
}

template <class S>
__device__ __forceinline__ void add_values(State<S>& state, std::uint32_t values,
                                           const std::uint32_t (&weights)[S::kHeadTiles][2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (S::kBytes) {
#pragma unroll
    for (int d = 0; d < S::kDimTiles; d += 2) {
      const Fragment4 loaded =
          load_matrices_transposed(values + swizzled<S::kRowChunks>(lane % 16, d + lane / 16));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // A register holds dims 2g, 2g + 1 of token 2t, then of 2t + 1; row g of A becomes dim 2g, row g + 8
        // 2g + 1.
        const std::uint32_t near = __byte_perm(loaded.at[2 * half], 0, 0x3120);
        const std::uint32_t far = __byte_perm(loaded.at[2 * half + 1], 0, 0x3120);  // tokens + 8
        const Fragment4 a{widen(near & 0xffff), widen(near >> 16), widen(far & 0xffff), widen(far >> 16)};
#pragma unroll
        for (int h = 0; h < S::kHeadTiles; ++h) {
          multiply_add<typename S::T>(state.out[h][d + half], a, weights[h][0], weights[h][1]);
        }
      }
    }
  } else {
#pragma unroll
    for (int d = 0; d < S::kDimTiles; ++d) {
      const int token = lane % 8 + lane / 16 * 8;
      const Fragment4 a =
          load_matrices_transposed(values + swizzled<S::kRowChunks>(token, 2 * d + lane / 8 % 2));
#pragma unroll
      for (int h = 0; h < S::kHeadTiles; ++h) {
        multiply_add<typename S::T>(state.out[h][d], a, weights[h][0], weights[h][1]);
      }
    }
  }
}

}  // namespace baton::cuda::attention::decode
