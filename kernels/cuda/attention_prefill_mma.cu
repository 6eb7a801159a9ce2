// Prefill attention on warp-level tensor cores (mma.sync, sm_80 and later), after FlashAttention-2 (Dao,
// 2023).
//
// A thread block has one query head and 128 rows, 16 per warp, in shared memory; it walks the keys in tiles
// of 64 at fixed positions, the next tile being copied while one is multiplied. A warp keeps the scores, the
// running maximum and sum, and the output of its rows in registers. e4m3 stays bytes in shared memory and
// widens in registers.
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/attention_prefill.hpp"
#include "kernels/cuda/launch.cuh"

namespace baton::cuda::attention {

namespace {

constexpr int kRows = kPrefillTileRows;
constexpr int kWarps = kRows / 16;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = 64;
constexpr int kKeyTiles = kKeys / 8;

struct Arguments {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const PrefillTile* tiles;
  std::int32_t group;
  std::int32_t block_shift;
  float scale_log2;
};

template <class KvElement, int kDim>
struct Shape {
  using Kv = KvElement;
  using T = Product<Kv>;
  static constexpr bool kBytes = sizeof(Kv) == 1;
  static constexpr int kHeadDim = kDim;
  static constexpr int kRowBytes = kDim * static_cast<int>(sizeof(Kv));
  static constexpr int kRowChunks = kRowBytes / 16;
  static constexpr int kQueryChunks = kDim / 8;
  static constexpr int kTileBytes = kKeys * kRowBytes;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr std::size_t kSharedBytes = kQueryBytes + 4 * kTileBytes;  // keys and values, twice
};

// Where this thread block's rows are.
struct Place {
  SequenceEntry sequence;
  int first_row;       // within the sequence's rows
  int rows;            // that exist, up to kRows
  int first_position;  // of first_row
  int last_position;
  int first_seen;  // the first position that any of the rows sees
};

__device__ __forceinline__ Place place_of(const Arguments& arguments, const PrefillTile& tile) {
  Place place;
  place.sequence = arguments.tables.sequences[tile.sequence];
  place.first_row = tile.first_row;
  place.rows = min(kRows, place.sequence.rows - tile.first_row);
  place.first_position = place.sequence.first_position + tile.first_row;
  place.last_position = place.first_position + place.rows - 1;
  place.first_seen = first_seen(place.first_position, arguments.rows.window);
  return place;
}

template <class S>
__device__ __forceinline__ void copy_tile(const Arguments& arguments, const Place& place, int tile,
                                          std::uint32_t to) {
  const std::byte* keys =
      arguments.kv.base + (static_cast<int>(blockIdx.x) / arguments.group) * arguments.kv.head_stride;
#pragma unroll
  for (int c = 0; c < S::kRowChunks * kKeys / kThreads; ++c) {
    const int index = static_cast<int>(threadIdx.x) + kThreads * c;
    const int key = index / S::kRowChunks, chunk = index % S::kRowChunks, token = tile * kKeys + key;
    const bool seen = token >= place.first_seen && token <= place.last_position;
    const std::byte* from = keys;
    if (seen) {
      const int block =
          arguments.tables.block_table[place.sequence.table_offset + (token >> arguments.block_shift)];
      from += block * arguments.kv.block_stride + (token & (arguments.kv.block_size - 1)) * S::kRowBytes +
              chunk * 16;
    }
    const std::uint32_t target = to + swizzled<S::kRowChunks>(key, chunk);
    copy_async(target, from, seen);
    copy_async(target + S::kTileBytes, seen ? from + arguments.kv.value_offset : keys, seen);
  }
}

template <class S>
__device__ __forceinline__ void load_queries(const Arguments& arguments, const Place& place,
                                             std::byte* target) {
  const auto* source = static_cast<const std::uint16_t*>(arguments.rows.queries) +
                       (place.sequence.first_row + place.first_row) * arguments.rows.query_stride +
                       static_cast<std::int64_t>(blockIdx.x) * S::kHeadDim;
#pragma unroll 4
  for (int c = 0; c < kRows * S::kQueryChunks / kThreads; ++c) {
    const int index = static_cast<int>(threadIdx.x) + kThreads * c;
    const int row = index / S::kQueryChunks, chunk = index % S::kQueryChunks;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (row < place.rows) {
      eight = *reinterpret_cast<const uint4*>(source + row * arguments.rows.query_stride + chunk * 8);
    }
    place_query<typename S::Kv, S::kQueryChunks>(target, row, chunk, eight,
                                                 arguments.rows.element == Element::bf16);
  }
}

template <class S>
__device__ __forceinline__ void multiply_keys(float (&scores)[kKeyTiles][4], std::uint32_t queries,
                                              std::uint32_t keys) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < S::kHeadDim / 16; ++k) {
    const Fragment4 a =
        load_matrices(queries + swizzled<S::kQueryChunks>(warp * 16 + lane % 16, 2 * k + lane / 16));
    if constexpr (S::kBytes) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 4) {
        const Fragment4 four = load_matrices(keys + swizzled<S::kRowChunks>(8 * n + lane, k));
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          multiply_add<typename S::T>(scores[n + j], a, widen(four.at[j] & 0xffff), widen(four.at[j] >> 16));
        }
      }
    } else {
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        const int key = 8 * n + lane % 8 + lane / 16 * 8;
        const Fragment4 b = load_matrices(keys + swizzled<S::kRowChunks>(key, 2 * k + lane / 8 % 2));
        multiply_add<typename S::T>(scores[n], a, b.at[0], b.at[1]);
        multiply_add<typename S::T>(scores[n + 1], a, b.at[2], b.at[3]);
      }
    }
  }
}

// Column tile j of `out` is dims 8j..8j + 7; for bytes tiles 2j and 2j + 1 are the even and the odd ones
// of 16.
template <class S>
__device__ __forceinline__ void multiply_values(float (&out)[S::kHeadDim / 8][4],
                                                const float (&weights)[kKeyTiles][4], std::uint32_t values) {
  using T = typename S::T;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const auto& left = weights[2 * k];
    const auto& right = weights[2 * k + 1];
    const Fragment4 a{pack<T>(left[0], left[1]), pack<T>(left[2], left[3]), pack<T>(right[0], right[1]),
                      pack<T>(right[2], right[3])};
    const int token = 16 * k + lane % 16;
    if constexpr (S::kBytes) {
#pragma unroll
      for (int d = 0; d < S::kRowChunks; d += 2) {
        const Fragment4 loaded =
            load_matrices_transposed(values + swizzled<S::kRowChunks>(token, d + lane / 16));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          // A register holds dims 2g, 2g + 1 of token 2t, then of 2t + 1.
          const std::uint32_t near = __byte_perm(loaded.at[2 * half], 0, 0x3120);
          const std::uint32_t far = __byte_perm(loaded.at[2 * half + 1], 0, 0x3120);  // tokens + 8
          multiply_add<T>(out[2 * (d + half)], a, widen(near & 0xffff), widen(far & 0xffff));
          multiply_add<T>(out[2 * (d + half) + 1], a, widen(near >> 16), widen(far >> 16));
        }
      }
    } else {
#pragma unroll
      for (int d = 0; d < S::kHeadDim / 8; d += 2) {
        const Fragment4 b = load_matrices_transposed(values + swizzled<S::kRowChunks>(token, d + lane / 16));
        multiply_add<T>(out[d], a, b.at[0], b.at[1]);
        multiply_add<T>(out[d + 1], a, b.at[2], b.at[3]);
      }
    }
  }
}

// A lane's two rows, g and g + 8 of its warp.
struct Softmax {
  float max[2] = {kNoScore, kNoScore};  // of raw scores
  float sum[2] = {};                    // over this lane's columns
};

// Hides keys before the first and behind the last that a row sees. `first` and `last`: of row g, counted from
// this lane's first column; row g + 8 sees 8 further.
__device__ __forceinline__ void hide(float (&scores)[kKeyTiles][4], int first, int last) {
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int key = 8 * n + e % 2 - e / 2 * 8;
      if (key < first || key > last) scores[n][e] = -INFINITY;
    }
  }
}

// Makes scores weights; `shrink` is what everything before them is now worth.
__device__ __forceinline__ void weigh(Softmax& softmax, float (&scores)[kKeyTiles][4], float scale_log2,
                                      float (&shrink)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = softmax.max[r];
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(kWholeWarp, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kWholeWarp, top, 2));
    shrink[r] = power_of_two((softmax.max[r] - top) * scale_log2);
    softmax.max[r] = top;
    softmax.sum[r] *= shrink[r];
    const float base = top * scale_log2;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        scores[n][e] = power_of_two(fmaf(scores[n][e], scale_log2, -base));
        softmax.sum[r] += scores[n][e];
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void write_rows(const Arguments& arguments, const Place& place,
                                           const float (&out)[S::kHeadDim / 8][4], const Softmax& softmax) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const bool as_bf16 = arguments.rows.element == Element::bf16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = softmax.sum[r];
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    sum += __shfl_xor_sync(kWholeWarp, sum, 2);
    const float inverse =
        normalizer(arguments.rows, static_cast<int>(blockIdx.x), softmax.max[r] * arguments.scale_log2, sum);
    const int row = warp * 16 + lane / 4 + 8 * r;
    const std::int64_t out_row = place.sequence.first_row + place.first_row + row;
    auto* target = static_cast<std::uint16_t*>(arguments.rows.out) +
                   (out_row * arguments.rows.query_heads + blockIdx.x) * S::kHeadDim;
    if constexpr (S::kBytes) {
#pragma unroll
      for (int d = 0; d < S::kRowChunks; ++d) {
        const auto& even = out[2 * d];
        const auto& odd = out[2 * d + 1];
        const uint2 four = make_uint2(pack(as_bf16, even[2 * r] * inverse, odd[2 * r] * inverse),
                                      pack(as_bf16, even[2 * r + 1] * inverse, odd[2 * r + 1] * inverse));
        if (row < place.rows) *reinterpret_cast<uint2*>(target + 16 * d + lane % 4 * 4) = four;
      }
    } else {
      write_row<S::kHeadDim>(target, as_bf16, row < place.rows, inverse,
                             [&](int j, int e) { return out[j][2 * r + e]; });
    }
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const __grid_constant__ Arguments arguments) {
  extern __shared__ __align__(128) std::byte memory[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  let_next_start();
  wait_for_previous();
  const Place place = place_of(arguments, arguments.tiles[blockIdx.y]);
  const std::uint32_t queries = shared_address(memory), tiles = queries + S::kQueryBytes;
  const int first_tile = place.first_seen / kKeys, key_tiles = place.last_position / kKeys + 1;
  copy_tile<S>(arguments, place, first_tile, tiles + (first_tile & 1) * 2 * S::kTileBytes);
  commit_copies();
  load_queries<S>(arguments, place, memory);

  const bool idle = warp * 16 >= place.rows;
  const int warp_position = place.first_position + warp * 16;
  const int warp_seen = first_seen(warp_position, arguments.rows.window);
  float out[S::kHeadDim / 8][4] = {};
  Softmax softmax;
  for (int tile = first_tile; tile < key_tiles; ++tile) {
    const std::uint32_t keys = tiles + (tile & 1) * 2 * S::kTileBytes;
    if (tile + 1 < key_tiles)
      copy_tile<S>(arguments, place, tile + 1, tiles + (~tile & 1) * 2 * S::kTileBytes);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();  // also publishes the queries
    const int first_key = tile * kKeys;
    if (!idle && first_key <= warp_position + 15 && first_key + kKeys > warp_seen) {
      float scores[kKeyTiles][4] = {};
      float shrink[2];
      multiply_keys<S>(scores, queries, keys);
      if (first_key + kKeys - 1 > warp_position ||
          first_key < first_seen(warp_position + 15, arguments.rows.window)) {
        const int position = warp_position + lane / 4, column = first_key + lane % 4 * 2;
        hide(scores, position + 1 - arguments.rows.window - column, position - column);
      }
      weigh(softmax, scores, arguments.scale_log2, shrink);
#pragma unroll
      for (int d = 0; d < S::kHeadDim / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out[d][e] *= shrink[e / 2];
      }
      multiply_values<S>(out, scores, keys + S::kTileBytes);
    }
    __syncthreads();  // everyone is done with the tile
  }
  if (!idle) write_rows<S>(arguments, place, out, softmax);
}

template <class Kv, int kDim>
cudaError_t start(const Arguments& arguments, std::int32_t tile_count, cudaStream_t stream) {
  using S = Shape<Kv, kDim>;
  static OncePerDevice known;
  const auto allowed = static_cast<cudaError_t>(
      known.get([] { return static_cast<int>(allow_shared(prefill_kernel<S>, S::kSharedBytes)); }));
  if (allowed != cudaSuccess) return allowed;
  return launch(prefill_kernel<S>,
                dim3(static_cast<unsigned>(arguments.rows.query_heads), static_cast<unsigned>(tile_count)),
                dim3(kThreads), S::kSharedBytes, stream, arguments);
}

template <class Kv>
cudaError_t start_for_dim(const Arguments& arguments, std::int32_t tile_count, cudaStream_t stream) {
  if (arguments.kv.head_dim == 64) return start<Kv, 64>(arguments, tile_count, stream);
  if (arguments.kv.head_dim == 128) return start<Kv, 128>(arguments, tile_count, stream);
  return cudaErrorNotSupported;
}

}  // namespace

cudaError_t prefill_mma(const PrefillAttention& attention, cudaStream_t stream) {
  const Arguments arguments{attention.rows,
                            attention.kv,
                            attention.tables,
                            attention.tiles,
                            attention.rows.query_heads / attention.kv.kv_heads,
                            block_shift(attention.kv.block_size),
                            attention.rows.scale * kLog2E};
  switch (attention.kv.element) {
    case Element::f16:
      return start_for_dim<f16>(arguments, attention.tile_count, stream);
    case Element::bf16:
      return start_for_dim<bf16>(arguments, attention.tile_count, stream);
    case Element::e4m3:
      return start_for_dim<e4m3>(arguments, attention.tile_count, stream);
    case Element::f32:
      break;
  }
  return cudaErrorNotSupported;
}

}  // namespace baton::cuda::attention
