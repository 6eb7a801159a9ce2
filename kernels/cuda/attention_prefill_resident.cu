// Prefill attention on the warpgroup-level tensor cores of sm_90a, after FlashAttention-3 (Shah et al.,
// 2024).
//
// Thread blocks stay resident and go through units of work: one query head and 128 rows each, dealt out back
// and forth, heaviest first. Warpgroup 0 brings in keys and values, tiles of 128 positions at fixed places,
// three tiles deep and on into the next unit; warpgroups 1 and 2 have 64 rows each. While the tensor cores
// multiply a tile's weights with its values, a warpgroup turns the scores of the tile after into weights; the
// two take turns to issue products, so that one's exponentials also run under the other's products. A unit's
// last product with values goes out with the next unit's first one with keys.
//
// Shared memory holds 16-bit elements in tiles of 64 columns (see warpgroup.cuh): queries [128 rows], keys
// and values [128 positions]. The copy engine (TMA) puts them there; e4m3 goes by way of registers and widens
// to f16.
#include "kernels/cuda/arrival.cuh"
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/attention_prefill.hpp"
#include "kernels/cuda/attention_prefill_tile.cuh"
#include "kernels/cuda/attention_tensor_map.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace baton::cuda::attention {

namespace {

using namespace resident;

struct Arguments {
  TensorMap keys, values;  // [block][KV head][token][dim], where the copy engine is used
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const PrefillTile* tiles;
  std::int32_t units;  // tiles x query heads
  std::int32_t group;
  std::int32_t block_shift;
  float scale_log2;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Where a unit's rows are.
struct alignas(16) Place {
  std::int32_t head;
  std::int32_t table;
  std::int32_t out_row;         // of the tile's first row, in the step
  std::int32_t rows;            // that exist, up to kRows
  std::int32_t first_position;  // of the tile's first row
  std::int32_t first_key;       // of the first tile of keys
  std::int32_t key_tiles;
  std::int32_t kv_head;

  __device__ __forceinline__ int last_position() const { return first_position + rows - 1; }
};

// Addresses in shared memory.
template <class S>
struct Shared {
  std::uint32_t queries;
  std::uint32_t barriers;
  Place* places;

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
  __device__ __forceinline__ std::uint32_t tail_here() const { return barriers + 8 * 4 * kStages; }
  __device__ __forceinline__ Place& place(int round) const { return places[round % kPlaces]; }
};

// Which stage is next, and the parity of its use.
struct Ring {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Back and forth over the thread blocks, so that none gets the longer units of every round.
__device__ __forceinline__ int unit_of_round(int round) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
}

__device__ __forceinline__ Place place_of(const Arguments& arguments, int unit) {
  const PrefillTile tile = arguments.tiles[unit / arguments.rows.query_heads];
  const SequenceEntry sequence = arguments.tables.sequences[tile.sequence];
  Place place;
  place.head = unit % arguments.rows.query_heads;
  place.table = sequence.table_offset;
  place.out_row = sequence.first_row + tile.first_row;
  place.rows = min(kRows, sequence.rows - tile.first_row);
  place.first_position = sequence.first_position + tile.first_row;
  place.first_key = first_seen(place.first_position, arguments.rows.window) / kKeys * kKeys;
  place.key_tiles = (place.last_position() - place.first_key) / kKeys + 1;
  place.kv_head = place.head / arguments.group;
  return place;
}

// By way of lane 0, so that the compiler knows it to be one for the warp: it orders products only where all
// lanes go.
__device__ __forceinline__ int warpgroup_index() {
  return __shfl_sync(kWholeWarp, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
}

// ---- The producer of 16-bit elements: one warp, whose lane 0 starts the copies

// A tile is boxes of `box_rows` positions, each within one block. Lane b knows box b's block.
struct Boxes {
  int rows;
  int here;  // of them, what has positions that exist
  int blocks[kMostBoxes];
};

template <class S>
__device__ __forceinline__ void copy_boxes(const Arguments& arguments, const TensorMap& map,
                                           const Place& place, const Boxes& boxes, int tile, std::uint32_t to,
                                           std::uint32_t barrier) {
  if (threadIdx.x % 32 != 0) return;
  arrival::expect(barrier, boxes.here * boxes.rows * S::kHeadDim * 2);
#pragma unroll
  for (int b = 0; b < kMostBoxes; ++b) {
    if (b >= boxes.here) break;
    const int token = (place.first_key + tile * kKeys + b * boxes.rows) & (arguments.kv.block_size - 1);
#pragma unroll
    for (int c = 0; c < S::kColumnTiles; ++c) {
      copy_box(map, to + c * kTileBytes + b * boxes.rows * 128, barrier, c * kColumns, token, place.kv_head,
               boxes.blocks[b]);
    }
  }
}

// Values whose weights are zero must be numbers all the same.
template <class S>
__device__ __forceinline__ void clear_rows(std::uint32_t matrix, int first) {
  for (int row = first + static_cast<int>(threadIdx.x) % 32 / 8; row < kKeys; row += 4) {
#pragma unroll
    for (int c = 0; c < S::kColumnTiles; ++c) {
      store_shared(matrix + c * kTileBytes + row * 128 + threadIdx.x % 8 * 16, make_uint4(0, 0, 0, 0));
    }
  }
  warpgroup::publish_to_products();
  __syncwarp();
}

template <class S>
__device__ __forceinline__ void produce(const Arguments& arguments, const Shared<S>& shared) {
  if (threadIdx.x >= 32) return;
  const int lane = static_cast<int>(threadIdx.x);
  Boxes boxes;
  boxes.rows = min(arguments.kv.block_size, kKeys);
  Ring ring;
  std::uint32_t tail_parity = 0;
  for (int round = 0; unit_of_round(round) < arguments.units; ++round) {
    const Place place = place_of(arguments, unit_of_round(round));
    const auto look_up = [&](int tile) {
      const int token = place.first_key + tile * kKeys + lane * boxes.rows;
      const bool exists = lane * boxes.rows < kKeys && token <= place.last_position();
      return exists ? arguments.tables.block_table[place.table + (token >> arguments.block_shift)] : 0;
    };
    int next_block = look_up(0);
    for (int tile = 0; tile < place.key_tiles; ++tile) {
      const int positions = min(place.last_position() + 1 - place.first_key - tile * kKeys, kKeys);
      boxes.here = (positions + boxes.rows - 1) / boxes.rows;
#pragma unroll
      for (int b = 0; b < kMostBoxes; ++b) boxes.blocks[b] = __shfl_sync(kWholeWarp, next_block, b);
      next_block = look_up(tile + 1);

      arrival::wait(shared.keys_free(ring.stage), ring.parity ^ 1);
      if (tile == 0 && lane == 0) shared.place(round) = place;
      copy_boxes<S>(arguments, arguments.keys, place, boxes, tile, shared.keys(ring.stage),
                    shared.keys_full(ring.stage));
      __syncwarp();
      arrival::wait(shared.values_free(ring.stage), ring.parity ^ 1);
      const bool whole = positions == kKeys;
      copy_boxes<S>(arguments, arguments.values, place, boxes, tile, shared.values(ring.stage),
                    whole ? shared.values_full(ring.stage) : shared.tail_here());
      __syncwarp();
      if (!whole) {
        arrival::wait(shared.tail_here(), tail_parity);
        tail_parity ^= 1;
        clear_rows<S>(shared.values(ring.stage), positions);
        if (lane == 0) arrival::arrive(shared.values_full(ring.stage));
        __syncwarp();
      }
      ring.advance();
    }
  }
}

// ---- The producer of bytes: four warps

// A thread's part of a tile of keys or of values: loaded before there is room for it.
template <class S>
struct Bytes {
  static constexpr int kChunks = S::kHeadDim / 16;
  static constexpr int kRowsAtOnce = kGroupThreads / kChunks;
  static constexpr int kCount = kKeys / kRowsAtOnce;
  static_assert(kRowsAtOnce % 16 == 0);
  uint4 at[kCount];

  // Where a thread's parts are: each eight lanes have four chunks of an even row and of the odd one after it,
  // since what they widen to then falls into different banks.
  static __device__ __forceinline__ int first_key() {
    constexpr int kPairs = 16 / kChunks;  // of rows, in a warp
    const int thread = static_cast<int>(threadIdx.x);
    return thread / 32 * 2 * kPairs + thread % 32 / 8 % kPairs * 2 + thread % 8 / 4;
  }
  static __device__ __forceinline__ int chunk() {
    constexpr int kPairs = 16 / kChunks;
    const int thread = static_cast<int>(threadIdx.x);
    return thread % 32 / 8 / kPairs * 4 + thread % 4;
  }

  // Of keys, and of the values that lie value_offset behind them. Lane l knows where positions 16 * l.. of
  // the tile lie; `positions` of the tile exist.
  static __device__ __forceinline__ void load(Bytes& keys, Bytes& values, const std::byte* piece,
                                              std::int64_t value_offset, std::int64_t offsets,
                                              int positions) {
    piece += first_key() % 16 * S::kHeadDim + chunk() * 16;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const int key = first_key() + c * kRowsAtOnce;
      const std::byte* here = piece + __shfl_sync(kWholeWarp, offsets, key / 16);
      keys.at[c] = values.at[c] = make_uint4(0, 0, 0, 0);
      if (key < positions) {
        keys.at[c] = *reinterpret_cast<const uint4*>(here);
        values.at[c] = *reinterpret_cast<const uint4*>(here + value_offset);
      }
    }
  }

  __device__ __forceinline__ void store(std::uint32_t to) const {
    const std::uint32_t left = to + chunk_offset(first_key(), 2 * chunk());
    const std::uint32_t right = to + chunk_offset(first_key(), 2 * chunk() + 1);
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
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
__device__ __forceinline__ void produce_bytes(const Arguments& arguments, const Shared<S>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Ring ring;
  for (int round = 0; unit_of_round(round) < arguments.units; ++round) {
    const Place place = place_of(arguments, unit_of_round(round));
    const std::byte* keys = arguments.kv.base + place.kv_head * arguments.kv.head_stride;
    const auto block_of = [&](int tile) {
      const int token = place.first_key + tile * kKeys + lane * 16;
      const bool exists = lane * 16 < kKeys && token <= place.last_position();
      return exists ? arguments.tables.block_table[place.table + (token >> arguments.block_shift)] : 0;
    };
    const auto offset_of = [&](int tile, int block) {
      const int token = place.first_key + tile * kKeys + lane * 16;
      return block * arguments.kv.block_stride + (token & (arguments.kv.block_size - 1)) * S::kHeadDim;
    };
    Bytes<S> key_bytes, value_bytes;
    const auto load = [&](int tile, int block) {
      Bytes<S>::load(key_bytes, value_bytes, keys, arguments.kv.value_offset, offset_of(tile, block),
                     place.last_position() + 1 - place.first_key - tile * kKeys);
    };
    load(0, block_of(0));
    int next_block = block_of(1);
    for (int tile = 0; tile < place.key_tiles; ++tile) {
      arrival::wait(shared.keys_free(ring.stage), ring.parity ^ 1);
      if (tile == 0 && threadIdx.x == 0) shared.place(round) = place;
      key_bytes.store(shared.keys(ring.stage));
      arrival::arrive(shared.keys_full(ring.stage));
      arrival::wait(shared.values_free(ring.stage), ring.parity ^ 1);
      value_bytes.store(shared.values(ring.stage));
      arrival::arrive(shared.values_full(ring.stage));
      ring.advance();
      // Only now, both at once: a store's fence also waits for every load that is under way.
      if (tile + 1 < place.key_tiles) {
        load(tile + 1, next_block);
        next_block = block_of(tile + 2);
      }
    }
  }
}

// ---- Consumers

__device__ __forceinline__ void meet_group(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(kQueries + group), "n"(kGroupThreads) : "memory");
}

// Copies a unit's queries to where the group's last product with queries, which is done, had its own.
template <class S>
__device__ __forceinline__ void start_queries(const Arguments& arguments, const Place& place,
                                              std::uint32_t to, int group) {
  constexpr int kChunks = S::kHeadDim / 8;
  const auto* source = static_cast<const std::uint16_t*>(arguments.rows.queries) +
                       static_cast<std::int64_t>(place.head) * S::kHeadDim;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, chunk = thread % kChunks;
  meet_group(group);
#pragma unroll 2
  for (int row = group * 64 + thread / kChunks; row < group * 64 + 64; row += kGroupThreads / kChunks) {
    const bool exists = row < place.rows;
    copy_async(to + chunk_offset(row, chunk),
               source + (place.out_row + (exists ? row : 0)) * arguments.rows.query_stride + chunk * 8,
               exists);
  }
}

// bf16 queries that meet f16 keys are narrowed where they lie, by the thread that copied them.
template <class S>
__device__ __forceinline__ void finish_queries(const Arguments& arguments, std::uint32_t to, int group) {
  asm volatile("cp.async.wait_all;" ::: "memory");
  if constexpr (S::kBytes) {
    constexpr int kChunks = S::kHeadDim / 8;
    if (arguments.rows.element == Element::bf16) {
      const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, chunk = thread % kChunks;
#pragma unroll 1
      for (int row = group * 64 + thread / kChunks; row < group * 64 + 64; row += kGroupThreads / kChunks) {
        const uint4 eight = load_shared(to + chunk_offset(row, chunk));
        store_shared(to + chunk_offset(row, chunk),
                     make_uint4(narrow(eight.x), narrow(eight.y), narrow(eight.z), narrow(eight.w)));
      }
    }
  }
  warpgroup::publish_to_products();
  meet_group(group);
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
__device__ __forceinline__ void write_rows(const Arguments& arguments, const Place& place,
                                           const Softmax& softmax, const float (&out)[S::kHeadDim / 2],
                                           int first_row) {
  const bool as_bf16 = std::is_same_v<typename S::T, bf16> || arguments.rows.element == Element::bf16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = softmax.sum[r];
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    sum += __shfl_xor_sync(kWholeWarp, sum, 2);
    const int row = first_row + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * r;
    auto* target =
        static_cast<std::uint16_t*>(arguments.rows.out) +
        (static_cast<std::int64_t>(place.out_row + row) * arguments.rows.query_heads + place.head) *
            S::kHeadDim;
    const float inverse = normalizer(arguments.rows, place.head, softmax.max[r] * arguments.scale_log2, sum);
    write_row<S::kHeadDim>(target, as_bf16, row < place.rows, inverse,
                           [&](int j, int e) { return out[4 * j + 2 * r + e]; });
  }
}

template <class S>
__device__ __forceinline__ void consume(const Arguments& arguments, const Shared<S>& shared) {
  const int group = warpgroup_index() - 1;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first_row = group * 64 + static_cast<int>(threadIdx.x) / 32 % 4 * 16;  // of this warp
  const std::uint32_t queries = shared.queries + group * 64 * 128;
  const float scale_log2 = arguments.scale_log2;
  float scores[64], out[S::kHeadDim / 2], shrink[2];
  std::uint32_t weights[32];
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < S::kHeadDim / 2; ++i) out[i] = 0;

  int round = 0, tile = 0;
  Ring keys, values;  // of the keys at hand, of the values of the tile before
  arrival::wait(shared.keys_full(0), 0);
  start_queries<S>(arguments, shared.place(0), shared.queries, group);
  int key_tiles = shared.place(0).key_tiles;
  const auto warp_position_of = [&](const Place& place) {  // counted from the unit's first key
    return place.first_position - place.first_key + first_row;
  };
  int warp_position = warp_position_of(shared.place(0));
  bool more = unit_of_round(1) < arguments.units;  // units after this one
  finish_queries<S>(arguments, shared.queries, group);

  if (group == 1) pass_turn(group);  // group 0 starts
  await_turn(group);
  warpgroup::pin(scores);
  warpgroup::fence();
  multiply_keys<S>(scores, queries, shared.keys(0));
  // The last word of group 1 would find nobody waiting.
  if (group == 0 || key_tiles > 1 || more) pass_turn(group);
  warpgroup::wait<0>();
  warpgroup::pin(scores);

  const auto after_scores = [&] {
    release(shared.keys_free(keys.stage));
    keys.advance();
    if (tile + 1 == key_tiles && more) {
      arrival::wait(shared.keys_full(keys.stage), keys.parity);  // with them comes the place
      start_queries<S>(arguments, shared.place(round + 1), shared.queries, group);
    }
    const int first_key = tile * kKeys;
    if (first_key + kKeys - 1 > warp_position) {
      hide_behind(scores, warp_position + lane / 4 - lane % 4 * 2 - first_key);
    }
    if (first_key <= warp_position + 15 - arguments.rows.window) {
      hide_before(scores, warp_position + 1 - arguments.rows.window + lane / 4 - lane % 4 * 2 - first_key);
    }
  };
  after_scores();
  weigh(softmax, scores, scale_log2, shrink);
  pack_weights<typename S::T>(weights, scores);

  for (;;) {
    if (++tile == key_tiles) {
      if (!more) break;
      ++round;
      tile = 0;
      key_tiles = shared.place(round).key_tiles;
      warp_position = warp_position_of(shared.place(round));
      more = unit_of_round(round + 1) < arguments.units;
      finish_queries<S>(arguments, shared.queries, group);
    }
    // These values were asked for before the keys: to wait for both costs nothing, and no branch parts the
    // products.
    arrival::wait(shared.values_full(values.stage), values.parity);
    arrival::wait(shared.keys_full(keys.stage), keys.parity);
    await_turn(group);
    warpgroup::pin(scores);
    warpgroup::pin(out);
    warpgroup::pin(weights);
    warpgroup::fence();
    multiply_keys<S>(scores, queries, shared.keys(keys.stage));
    multiply_values<S>(out, weights, shared.values(values.stage));
    if (group == 0 || tile + 1 < key_tiles || more) pass_turn(group);
    warpgroup::wait<1>();
    warpgroup::pin(scores);
    after_scores();
    if (tile == 0) {  // what was multiplied with values ends the unit before
      warpgroup::wait<0>();
      warpgroup::pin(out);
      write_rows<S>(arguments, shared.place(round - 1), softmax, out, first_row);
#pragma unroll
      for (int i = 0; i < S::kHeadDim / 2; ++i) out[i] = 0;
      softmax = Softmax();
    }
    weigh(softmax, scores, scale_log2, shrink);
    // Never are sums infinite: to ask keeps the exponentials before the wait, which the assembler would
    // otherwise move up to where nothing is left to overlap.
    if (__any_sync(kWholeWarp,
                   shrink[0] != 1 || shrink[1] != 1 || softmax.sum[0] + softmax.sum[1] == INFINITY)) {
      warpgroup::wait<0>();
      warpgroup::pin(out);
#pragma unroll
      for (int i = 0; i < S::kHeadDim / 2; ++i) out[i] *= shrink[i / 2 % 2];
    }
    warpgroup::wait<0>();
    warpgroup::pin(out);
    warpgroup::pin(weights);
    release(shared.values_free(values.stage));
    values.advance();
    pack_weights<typename S::T>(weights, scores);
  }

  arrival::wait(shared.values_full(values.stage), values.parity);
  warpgroup::pin(out);
  warpgroup::pin(weights);
  warpgroup::fence();
  multiply_values<S>(out, weights, shared.values(values.stage));
  warpgroup::wait<0>();
  warpgroup::pin(out);
  write_rows<S>(arguments, shared.place(round), softmax, out, first_row);
}

#endif

template <class S>
__global__ void __launch_bounds__(kThreads, 1) prefill_kernel(const __grid_constant__ Arguments arguments) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ std::byte memory[];
  Shared<S> shared;
  const std::uint32_t start = shared_address(memory);
  shared.queries = (start + 1023) / 1024 * 1024;
  shared.barriers = shared.queries + (1 + 2 * kStages) * S::kMatrixBytes;
  shared.places = reinterpret_cast<Place*>(memory + (shared.barriers + 128 - start));
  if (threadIdx.x == 0) {
    constexpr int kProducers = S::kBytes ? kGroupThreads : 1;
    for (int stage = 0; stage < kStages; ++stage) {
      arrival::make(shared.keys_full(stage), kProducers);
      arrival::make(shared.values_full(stage), kProducers);
      arrival::make(shared.keys_free(stage), 4 * kConsumerGroups);  // warps
      arrival::make(shared.values_free(stage), 4 * kConsumerGroups);
    }
    arrival::make(shared.tail_here(), 1);
    arrival::publish_to_copies();
  }
  let_next_start();
  __syncthreads();
  wait_for_previous();
  if (warpgroup_index() == 0) {
    warpgroup::give_registers<S::kProducerRegisters>();
    if constexpr (S::kBytes) {
      produce_bytes<S>(arguments, shared);
    } else {
      produce<S>(arguments, shared);
    }
  } else {
    warpgroup::take_registers<S::kConsumerRegisters>();
    consume<S>(arguments, shared);
  }
#else
  __trap();  // built for another architecture, where prefill_resident() does not come here
#endif
}

template <class Kv, int kDim>
cudaError_t start(Arguments& arguments, cudaStream_t stream) {
  using S = Shape<Kv, kDim>;
  static OncePerDevice known;
  const auto allowed = static_cast<cudaError_t>(
      known.get([] { return static_cast<int>(allow_shared(prefill_kernel<S>, S::kSharedBytes)); }));
  if (allowed != cudaSuccess) return allowed;
  if constexpr (!S::kBytes) {
    const int rows = arguments.kv.block_size < kKeys ? arguments.kv.block_size : kKeys;
    if (!map_pieces(arguments.keys, arguments.kv, 0, kColumns, rows) ||
        !map_pieces(arguments.values, arguments.kv, arguments.kv.value_offset, kColumns, rows)) {
      return cudaErrorNotSupported;
    }
  }
  const int blocks = arguments.units < hopper_multiprocessors() ? arguments.units : hopper_multiprocessors();
  return launch(prefill_kernel<S>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), S::kSharedBytes,
                stream, arguments);
}

template <class Kv>
cudaError_t start_for_dim(Arguments& arguments, cudaStream_t stream) {
  if (arguments.kv.head_dim == 64) return start<Kv, 64>(arguments, stream);
  if (arguments.kv.head_dim == 128) return start<Kv, 128>(arguments, stream);
  return cudaErrorNotSupported;
}

}  // namespace

cudaError_t prefill_resident(const PrefillAttention& attention, cudaStream_t stream) {
  if (hopper_multiprocessors() == 0) return cudaErrorNotSupported;
  Arguments arguments{{},
                      {},
                      attention.rows,
                      attention.kv,
                      attention.tables,
                      attention.tiles,
                      attention.tile_count * attention.rows.query_heads,
                      attention.rows.query_heads / attention.kv.kv_heads,
                      block_shift(attention.kv.block_size),
                      attention.rows.scale * kLog2E};
  switch (attention.kv.element) {
    case Element::f16:
      return start_for_dim<f16>(arguments, stream);
    case Element::bf16:
      return start_for_dim<bf16>(arguments, stream);
    case Element::e4m3:
      return start_for_dim<e4m3>(arguments, stream);
    case Element::f32:
      break;
  }
  return cudaErrorNotSupported;
}

}  // namespace baton::cuda::attention
