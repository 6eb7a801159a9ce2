// Prefill attention on the warpgroup-level tensor cores of sm_90a, after FlashAttention-3 (Shah et al.,
// 2024).
//
// A thread block has one query head and 128 rows. Warpgroup 0 brings in keys and values, tiles of 128
// positions at fixed places, two tiles deep; warpgroups 1 and 2 have 64 rows each. While the tensor cores
// multiply a tile's weights with its values and the next tile's keys with the queries, a warpgroup turns the
// scores before into weights; and the two take turns to issue products, so that one's exponentials run under
// the other's products.
//
// Shared memory holds 16-bit elements in tiles of 64 columns (see warpgroup.cuh): queries [128 rows], keys
// and values [128 positions]. e4m3 widens to f16 on its way there.
#include "kernels/cuda/arrival.cuh"
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/attention_prefill.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace baton::cuda::attention {

// Named, since an unnamed namespace has warnings for what only some architectures use.
namespace wgmma {

inline constexpr int kRows = kPrefillTileRows;
inline constexpr int kGroupThreads = 128;
inline constexpr int kConsumerGroups = 2;
inline constexpr int kThreads = kGroupThreads * (1 + kConsumerGroups);
inline constexpr int kKeys = 128;
inline constexpr int kStages = 2;
inline constexpr int kColumns = 64;           // of a tile in shared memory: 128 bytes
inline constexpr int kTileBytes = 128 * 128;  // 128 rows of 128 bytes
inline constexpr int kTurn = 1;               // named barriers kTurn + consumer group
inline constexpr int kQueriesReady = 3;       // + consumer group

template <class KvElement, int kDim>
struct Shape {
  using Kv = KvElement;
  using T = Product<Kv>;
  static constexpr bool kBytes = sizeof(Kv) == 1;
  static constexpr int kHeadDim = kDim;
  static constexpr int kColumnTiles = kDim / kColumns;
  static constexpr int kMatrixBytes =
      kColumnTiles * kTileBytes;  // queries, or one stage of keys or of values
  static constexpr std::size_t kSharedBytes =
      1024 + static_cast<std::size_t>(1 + 2 * kStages) * kMatrixBytes + 128;
  // Of 64 Ki registers; a copying thread that widens holds 32 of data.
  static constexpr int kProducerRegisters = kBytes ? 88 : 40;
  static constexpr int kConsumerRegisters = kBytes ? 208 : 232;
};

}  // namespace wgmma

namespace {

using namespace wgmma;

struct Arguments {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const PrefillTile* tiles;
  std::int32_t group;
  std::int32_t block_shift;
  float scale_log2;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Addresses in shared memory.
template <class S>
struct Shared {
  std::uint32_t queries;
  std::uint32_t barriers;

  __device__ __forceinline__ std::uint32_t keys(int stage) const {
    return queries + (1 + stage) * S::kMatrixBytes;
  }
  __device__ __forceinline__ std::uint32_t values(int stage) const {
    return queries + (1 + kStages + stage) * S::kMatrixBytes;
  }
  __device__ __forceinline__ std::uint32_t keys_full(int stage) const { return barriers + 8 * stage; }
  __device__ __forceinline__ std::uint32_t values_full(int stage) const {
    return barriers + 8 * (kStages + stage);
  }
  __device__ __forceinline__ std::uint32_t keys_free(int stage) const {
    return barriers + 8 * (2 * kStages + stage);
  }
  __device__ __forceinline__ std::uint32_t values_free(int stage) const {
    return barriers + 8 * (3 * kStages + stage);
  }
};

// Where this thread block's rows are.
struct Place {
  int table;
  int out_row;         // of the tile's first row, in the step
  int rows;            // that exist, up to kRows
  int first_position;  // of the tile's first row
  int last_position;
  int key_tiles;
};

__device__ __forceinline__ Place place_of(const Arguments& arguments, const PrefillTile& tile) {
  const SequenceEntry sequence = arguments.tables.sequences[tile.sequence];
  Place place;
  place.table = sequence.table_offset;
  place.out_row = sequence.first_row + tile.first_row;
  place.rows = min(kRows, sequence.rows - tile.first_row);
  place.first_position = sequence.first_position + tile.first_row;
  place.last_position = place.first_position + place.rows - 1;
  place.key_tiles = place.last_position / kKeys + 1;
  return place;
}

// By way of lane 0, so that the compiler knows it to be one for the warp: it orders products only where all
// lanes go.
__device__ __forceinline__ int warpgroup_index() {
  return __shfl_sync(kWholeWarp, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
}

// Chunk `chunk` (of 16 bytes) of row `row` of a matrix of column tiles.
__device__ __forceinline__ std::uint32_t chunk_offset(int row, int chunk) {
  return static_cast<std::uint32_t>(chunk / 8 * kTileBytes + row * 128 + ((chunk ^ row) & 7) * 16);
}

__device__ __forceinline__ void store_shared(std::uint32_t address, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}

// ---- The producer

// Lane l knows the block of positions 16 * l.. of a tile.
__device__ __forceinline__ int block_of_lane(const Arguments& arguments, const Place& place, int tile) {
  const int token = tile * kKeys + static_cast<int>(threadIdx.x) % 32 * 16;
  const bool exists = token < (tile + 1) * kKeys && token <= place.last_position;
  return exists ? arguments.tables.block_table[place.table + (token >> arguments.block_shift)] : 0;
}

template <class S>
__device__ __forceinline__ const std::byte* token_address(const Arguments& arguments, const std::byte* piece,
                                                          int block, int token) {
  return piece + block * arguments.kv.block_stride +
         (token & (arguments.kv.block_size - 1)) * (S::kHeadDim * static_cast<int>(sizeof(typename S::Kv)));
}

// Copies a tile of keys or of values; `piece` is block 0's.
template <class S>
__device__ __forceinline__ void copy_matrix(const Arguments& arguments, const Place& place,
                                            const std::byte* piece, int tile, int blocks, std::uint32_t to) {
  constexpr int kChunks = S::kHeadDim / 8;
  constexpr int kRowsAtOnce = kGroupThreads / kChunks;
  static_assert(kRowsAtOnce % 8 == 0, "so that a thread's chunks share a column");
  const int first_key = static_cast<int>(threadIdx.x) / kChunks,
            chunk = static_cast<int>(threadIdx.x) % kChunks;
  to += chunk_offset(first_key, chunk);
#pragma unroll 4
  for (int c = 0; c < kKeys / kRowsAtOnce; ++c) {
    const int key = first_key + c * kRowsAtOnce, token = tile * kKeys + key;
    const int block = __shfl_sync(kWholeWarp, blocks, key / 16);
    copy_async(to + c * kRowsAtOnce * 128, token_address<S>(arguments, piece, block, token) + chunk * 16,
               token <= place.last_position);
  }
}

// The same for bytes, in two steps, so that the loads are under way before the stage is free.
template <class S>
struct Bytes {
  static constexpr int kChunks = S::kHeadDim / 16;
  static constexpr int kRowsAtOnce = kGroupThreads / kChunks;
  uint4 at[kKeys / kRowsAtOnce];

  __device__ __forceinline__ void load(const Arguments& arguments, const Place& place, const std::byte* piece,
                                       int tile, int blocks) {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
#pragma unroll
    for (int c = 0; c < kKeys / kRowsAtOnce; ++c) {
      const int key = static_cast<int>(threadIdx.x) / kChunks + c * kRowsAtOnce, token = tile * kKeys + key;
      const int block = __shfl_sync(kWholeWarp, blocks, key / 16);
      at[c] = make_uint4(0, 0, 0, 0);
      if (token <= place.last_position) {
        at[c] =
            *reinterpret_cast<const uint4*>(token_address<S>(arguments, piece, block, token) + chunk * 16);
      }
    }
  }

  __device__ __forceinline__ void store(std::uint32_t to) const {
    static_assert(kRowsAtOnce % 8 == 0, "so that a thread's chunks share a column");
    const int first_key = static_cast<int>(threadIdx.x) / kChunks,
              chunk = static_cast<int>(threadIdx.x) % kChunks;
    const std::uint32_t left = to + chunk_offset(first_key, 2 * chunk);
    const std::uint32_t right = to + chunk_offset(first_key, 2 * chunk + 1);
#pragma unroll
    for (int c = 0; c < kKeys / kRowsAtOnce; ++c) {
      const uint4 v = at[c];
      store_shared(left + c * kRowsAtOnce * 128,
                   make_uint4(widen(v.x & 0xffff), widen(v.x >> 16), widen(v.y & 0xffff), widen(v.y >> 16)));
      store_shared(right + c * kRowsAtOnce * 128,
                   make_uint4(widen(v.z & 0xffff), widen(v.z >> 16), widen(v.w & 0xffff), widen(v.w >> 16)));
    }
    warpgroup::publish_to_products();
  }
};

template <class S>
__device__ __forceinline__ void produce(const Arguments& arguments, const Place& place,
                                        const Shared<S>& shared) {
  const std::byte* keys =
      arguments.kv.base + (static_cast<int>(blockIdx.x) / arguments.group) * arguments.kv.head_stride;
  const std::byte* values = keys + arguments.kv.value_offset;
  int blocks = block_of_lane(arguments, place, 0);
  for (int tile = 0; tile < place.key_tiles; ++tile) {
    const int stage = tile % kStages;
    const std::uint32_t parity = static_cast<std::uint32_t>(tile / kStages % 2) ^ 1;  // of the use before
    const int next_blocks = block_of_lane(arguments, place, tile + 1);
    if constexpr (S::kBytes) {
      Bytes<S> bytes;
      bytes.load(arguments, place, keys, tile, blocks);
      arrival::wait(shared.keys_free(stage), parity);
      bytes.store(shared.keys(stage));
      arrival::arrive(shared.keys_full(stage));
      bytes.load(arguments, place, values, tile, blocks);
      arrival::wait(shared.values_free(stage), parity);
      bytes.store(shared.values(stage));
      arrival::arrive(shared.values_full(stage));
    } else {
      arrival::wait(shared.keys_free(stage), parity);
      copy_matrix<S>(arguments, place, keys, tile, blocks, shared.keys(stage));
      arrival::arrive_after_copies(shared.keys_full(stage));
      arrival::wait(shared.values_free(stage), parity);
      copy_matrix<S>(arguments, place, values, tile, blocks, shared.values(stage));
      arrival::arrive_after_copies(shared.values_full(stage));
    }
    blocks = next_blocks;
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// ---- Consumers

template <class S>
__device__ __forceinline__ void load_queries(const Arguments& arguments, const Place& place, std::uint32_t to,
                                             int first_row) {
  constexpr int kChunks = S::kHeadDim / 8;
  const auto* source = static_cast<const std::uint16_t*>(arguments.rows.queries) +
                       static_cast<std::int64_t>(blockIdx.x) * S::kHeadDim;
  const bool narrows = S::kBytes && arguments.rows.element == Element::bf16;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
#pragma unroll 4
  for (int index = thread; index < 64 * kChunks; index += kGroupThreads) {
    const int row = first_row + index / kChunks, chunk = index % kChunks;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (row < place.rows) {
      eight = *reinterpret_cast<const uint4*>(source + (place.out_row + row) * arguments.rows.query_stride +
                                              chunk * 8);
    }
    if (narrows) eight = make_uint4(narrow(eight.x), narrow(eight.y), narrow(eight.z), narrow(eight.w));
    store_shared(to + chunk_offset(row, chunk), eight);
  }
}

// Starts scores [64, 128] = queries x keys^T.
template <class S>
__device__ __forceinline__ void multiply_keys(float (&scores)[64], std::uint32_t queries,
                                              std::uint32_t keys) {
#pragma unroll
  for (int k = 0; k < S::kHeadDim / 16; ++k) {
    const std::uint32_t offset = k / 4 * kTileBytes + k % 4 * 32;
    warpgroup::multiply<typename S::T>(scores, warpgroup::descriptor(queries + offset, 16),
                                       warpgroup::descriptor(keys + offset, 16), k > 0);
  }
  warpgroup::commit();
}

// Starts out [64, head_dim] += weights x values.
template <class S>
__device__ __forceinline__ void multiply_values(float (&out)[S::kHeadDim / 2],
                                                const std::uint32_t (&weights)[32], std::uint32_t values) {
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    warpgroup::multiply_add<typename S::T>(out, weights + 4 * k,
                                           warpgroup::descriptor(values + k * 16 * 128, kTileBytes));
  }
  warpgroup::commit();
}

// A lane's two rows, g and g + 8 of its warp: elements 4j, 4j + 1 and 4j + 2, 4j + 3 of column tile j.
struct Softmax {
  float max[2] = {-INFINITY, -INFINITY};  // of raw scores
  float sum[2] = {};                      // over this lane's columns
};

// Hides keys behind the row's own position. `visible`: what row g sees, counted from this lane's first
// column.
__device__ __forceinline__ void hide(float (&scores)[64], int visible) {
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (i / 4 * 8 + i % 2 > visible + i / 2 % 2 * 8) scores[i] = -INFINITY;
  }
}

// Makes scores weights; `shrink` is what everything before them is now worth.
__device__ __forceinline__ void weigh(Softmax& softmax, float (&scores)[64], float scale_log2,
                                      float (&shrink)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = softmax.max[r];
#pragma unroll
    for (int j = 0; j < 16; ++j) top = fmaxf(top, fmaxf(scores[4 * j + 2 * r], scores[4 * j + 2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(kWholeWarp, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kWholeWarp, top, 2));
    shrink[r] = power_of_two((softmax.max[r] - top) * scale_log2);
    softmax.max[r] = top;
    const float base = top * scale_log2;
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

// The two consumer groups issue products alternately.
__device__ __forceinline__ void await_turn(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(kTurn + group), "n"(kGroupThreads * kConsumerGroups) : "memory");
}
__device__ __forceinline__ void pass_turn(int group) {
  asm volatile("bar.arrive %0, %1;" ::"r"(kTurn + 1 - group), "n"(kGroupThreads * kConsumerGroups)
               : "memory");
}

// This warp has read what the barrier's stage holds.
__device__ __forceinline__ void release(std::uint32_t barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrival::arrive(barrier);
}

template <class S>
__device__ __forceinline__ void consume(const Arguments& arguments, const Place& place,
                                        const Shared<S>& shared) {
  const int group = warpgroup_index() - 1;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const std::uint32_t queries = shared.queries + group * 64 * 128;
  load_queries<S>(arguments, place, shared.queries, group * 64);
  warpgroup::publish_to_products();
  asm volatile("bar.sync %0, %1;" ::"r"(kQueriesReady + group), "n"(kGroupThreads) : "memory");

  const int warp_position = place.first_position + group * 64 + warp * 16;
  const int lane_position = warp_position + lane / 4 - lane % 4 * 2;
  const float scale_log2 = arguments.scale_log2;
  float scores[64], out[S::kHeadDim / 2], shrink[2];
  std::uint32_t weights[32];
#pragma unroll
  for (int i = 0; i < S::kHeadDim / 2; ++i) out[i] = 0;
  Softmax softmax;

  if (group == 1) pass_turn(group);  // group 0 starts
  arrival::wait(shared.keys_full(0), 0);
  warpgroup::publish_to_products();
  await_turn(group);
  warpgroup::pin(scores);
  warpgroup::fence();
  multiply_keys<S>(scores, queries, shared.keys(0));
  if (group == 0 || place.key_tiles > 1) pass_turn(group);  // group 1's last word would find nobody waiting
  warpgroup::wait<0>();
  warpgroup::pin(scores);
  release(shared.keys_free(0));
  if (kKeys - 1 > warp_position) hide(scores, lane_position);
  weigh(softmax, scores, scale_log2, shrink);
  pack_weights<typename S::T>(weights, scores);

  for (int tile = 1; tile < place.key_tiles; ++tile) {
    const int stage = tile % kStages, before = (tile - 1) % kStages;
    // These values were asked for before the keys: to wait for both costs nothing, and no branch parts the
    // products.
    arrival::wait(shared.values_full(before), static_cast<std::uint32_t>((tile - 1) / kStages % 2));
    arrival::wait(shared.keys_full(stage), static_cast<std::uint32_t>(tile / kStages % 2));
    warpgroup::publish_to_products();
    await_turn(group);
    warpgroup::pin(scores);
    warpgroup::pin(out);
    warpgroup::pin(weights);
    warpgroup::fence();
    multiply_keys<S>(scores, queries, shared.keys(stage));
    multiply_values<S>(out, weights, shared.values(before));
    if (group == 0 || tile + 1 < place.key_tiles) pass_turn(group);
    warpgroup::wait<1>();
    warpgroup::pin(scores);
    release(shared.keys_free(stage));
    const int first_key = tile * kKeys;
    if (first_key + kKeys - 1 > warp_position) hide(scores, lane_position - first_key);
    weigh(softmax, scores, scale_log2, shrink);
    warpgroup::wait<0>();
    warpgroup::pin(out);
    warpgroup::pin(weights);
    release(shared.values_free(before));
#pragma unroll
    for (int i = 0; i < S::kHeadDim / 2; ++i) out[i] *= shrink[i / 2 % 2];
    pack_weights<typename S::T>(weights, scores);
  }

  const int last = place.key_tiles - 1;
  arrival::wait(shared.values_full(last % kStages), static_cast<std::uint32_t>(last / kStages % 2));
  warpgroup::publish_to_products();
  warpgroup::pin(out);
  warpgroup::pin(weights);
  warpgroup::fence();
  multiply_values<S>(out, weights, shared.values(last % kStages));
  warpgroup::wait<0>();
  warpgroup::pin(out);

  const bool as_bf16 = std::is_same_v<typename S::T, bf16> || arguments.rows.element == Element::bf16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = softmax.sum[r];
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    sum += __shfl_xor_sync(kWholeWarp, sum, 2);
    const int row = group * 64 + warp * 16 + lane / 4 + 8 * r;
    auto* target =
        static_cast<std::uint16_t*>(arguments.rows.out) +
        (static_cast<std::int64_t>(place.out_row + row) * arguments.rows.query_heads + blockIdx.x) *
            S::kHeadDim;
    write_row<S::kHeadDim>(target, as_bf16, row < place.rows, 1.f / sum,
                           [&](int j, int e) { return out[4 * j + 2 * r + e]; });
  }
}

#endif

template <class S>
__global__ void __launch_bounds__(kThreads, 1) prefill_kernel(const __grid_constant__ Arguments arguments) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ std::byte memory[];
  Shared<S> shared;
  shared.queries = (shared_address(memory) + 1023) / 1024 * 1024;
  shared.barriers = shared.queries + (1 + 2 * kStages) * S::kMatrixBytes;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      arrival::make(shared.keys_full(stage), kGroupThreads);
      arrival::make(shared.values_full(stage), kGroupThreads);
      arrival::make(shared.keys_free(stage), 4 * kConsumerGroups);  // warps
      arrival::make(shared.values_free(stage), 4 * kConsumerGroups);
    }
  }
  let_next_start();
  __syncthreads();
  wait_for_previous();
  const Place place = place_of(arguments, arguments.tiles[blockIdx.y]);
  if (warpgroup_index() == 0) {
    warpgroup::give_registers<S::kProducerRegisters>();
    produce<S>(arguments, place, shared);
  } else {
    warpgroup::take_registers<S::kConsumerRegisters>();
    consume<S>(arguments, place, shared);
  }
#else
  __trap();  // built for another architecture, where prefill_wgmma() does not come here
#endif
}

bool has_warpgroups() {
  static const bool known = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
           major == 9;
  }();
  return known;
}

template <class Kv, int kDim>
cudaError_t start(const Arguments& arguments, std::int32_t tile_count, cudaStream_t stream) {
  using S = Shape<Kv, kDim>;
  static const cudaError_t allowed = allow_shared(prefill_kernel<S>, S::kSharedBytes);
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

cudaError_t prefill_wgmma(const PrefillAttention& attention, cudaStream_t stream) {
  if (!has_warpgroups()) return cudaErrorNotSupported;
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
