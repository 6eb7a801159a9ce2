// Units of work of decode attention: what a thread block shares about them, and the scout, the warp that
// finds them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_decode_tile.cuh"
#include "kernels/cuda/attention_parts.cuh"

namespace baton::cuda::attention::decode {

inline constexpr int kUnits = 8;       // remembered: i - 2 to i + 3
inline constexpr int kFixedUnits = 3;  // of a thread block: known before it may touch the workspace
// What a thread block asks for early. All together must fit in L2 beside what else is of use there.
inline constexpr int kEarlyBytes = 96 * 1024;

struct Unit {
  std::int32_t row;  // -1: there is no such unit
  std::int32_t position;
  std::int32_t first_seen;  // the first position that the row sees
  std::int32_t split;
  std::int32_t head;
  std::int32_t item;
  std::int32_t completes_row;
  std::int32_t blocks[kTiles];

  // Of the unit's row: how many splits it has, and the item of the first of them.
  __device__ __forceinline__ int splits() const {
    return position / kSplitTokens - first_seen / kSplitTokens + 1;
  }
  __device__ __forceinline__ int first_item() const { return item - (split - first_seen / kSplitTokens); }
};

struct MaxSum {
  float max;  // of scores, in units of log2
  float sum;  // of 2^(score - max)
};

struct Workspace {
  std::int32_t* next_unit;  // how many units beyond the fixed ones are taken
  std::int32_t* finished;   // [items, kv_heads] at a row's first item: splits done
  MaxSum* max_sum;          // [items, kv_heads, group]
  float* out;               // [items, kv_heads, group, head_dim], of weight 2^(score - max)
};

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

struct WorkspaceLayout {
  std::size_t max_sum, out, bytes;

  WorkspaceLayout(std::int32_t items, std::int32_t query_heads, std::int32_t kv_heads,
                  std::int32_t head_dim) {
    const std::size_t rows = static_cast<std::size_t>(items) * static_cast<std::size_t>(query_heads);
    max_sum = aligned(256 + sizeof(std::int32_t) * static_cast<std::size_t>(items) *
                                static_cast<std::size_t>(kv_heads));
    out = max_sum + aligned(sizeof(MaxSum) * rows);
    bytes = out + sizeof(float) * rows * static_cast<std::size_t>(head_dim);
  }
};

struct Arguments {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const DecodeItem* items;
  const std::int32_t* item_count;
  Workspace workspace;
  std::int32_t group;
  std::int32_t block_shift;
  float scale_log2;
};

// Of a thread block, for `group` query heads per KV head.
template <class S>
constexpr std::size_t shared_bytes(int group) {
  return static_cast<std::size_t>(kConsumers * S::kRingBytes + 2 * S::kQueryBytes) +
         sizeof(float) * static_cast<std::size_t>(kConsumers * group * S::kSumStride) +
         sizeof(MaxSum) * kConsumers * S::kHeads + sizeof(Unit) * kUnits;
}

template <class S>
struct Shared {
  std::byte* ring;     // [kConsumers][kStages][keys, values]
  std::byte* queries;  // [2][kHeads][kHeadDim], swizzled
  float* sums;         // [kConsumers][group][kSumStride]
  MaxSum* max_sum;     // [kConsumers][kHeads]
  Unit* units;         // [kUnits]

  __device__ Shared(std::byte* start, int group) {
    ring = start;
    queries = ring + kConsumers * S::kRingBytes;
    sums = reinterpret_cast<float*>(queries + 2 * S::kQueryBytes);
    max_sum = reinterpret_cast<MaxSum*>(sums + kConsumers * group * S::kSumStride);
    units = reinterpret_cast<Unit*>(max_sum + kConsumers * S::kHeads);
  }
  __device__ Unit& unit(int i) const { return units[i & (kUnits - 1)]; }
};

// ---- The scout

// The first units of a thread block are fixed, so that a small batch spreads out; the rest go to whoever is
// free.
__device__ __forceinline__ int take_unit(const Arguments& arguments, int i, int total) {
  const int blocks = static_cast<int>(gridDim.x);
  if (i < kFixedUnits) return static_cast<int>(blockIdx.x) + i * blocks;
  int taken = 0;
  if (threadIdx.x % 32 == 0) {
    taken = atomicAdd(arguments.workspace.next_unit, 1);
    // Every thread block whose fixed units all exist comes here until it gets nothing; the last to do so
    // leaves zero.
    const int beyond = max(total - kFixedUnits * blocks, 0),
              misses = min(max(total - (kFixedUnits - 1) * blocks, 0), blocks);
    if (taken == beyond + misses - 1) *arguments.workspace.next_unit = 0;
  }
  return kFixedUnits * blocks + __shfl_sync(kWholeWarp, taken, 0);
}

// What unit i is, or that there is none.
template <class S>
__device__ void set_unit(const Arguments& arguments, const Shared<S>& shared, int i, int taken, int total,
                         const DecodeItem& work) {
  if (threadIdx.x % 32 != 0) return;
  Unit& unit = shared.unit(i);
  unit.row = taken < total ? work.row : -1;
  unit.split = work.split;
  unit.head = taken % arguments.kv.kv_heads;
  unit.item = taken / arguments.kv.kv_heads;
  unit.completes_row = 0;
}

template <class S>
__device__ void first_unit(const Arguments& arguments, const Shared<S>& shared, int total) {
  const int taken = static_cast<int>(blockIdx.x);
  // Of max_items, which the grid does not exceed: need not wait for how many there are.
  set_unit(arguments, shared, 0, taken, total, arguments.items[taken / arguments.kv.kv_heads]);
  __syncwarp();
}

// Looks up where unit i is, and what unit i + 1 is: two chains of loads, side by side.
template <class S>
__device__ void look_up(const Arguments& arguments, const Shared<S>& shared, int i, int total) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Unit& unit = shared.unit(i);
  const bool exists = unit.row >= 0;
  int position = 0, sequence = 0, taken = total;
  if (exists) {
    position = arguments.tables.positions[unit.row];
    sequence = arguments.tables.sequence_of[unit.row];
    taken = take_unit(arguments, i + 1, total);
  }
  DecodeItem work{};
  if (taken < total) work = arguments.items[taken / arguments.kv.kv_heads];
  if (exists) {
    const int table = arguments.tables.sequences[sequence].table_offset;
    const int token = unit.split * kSplitTokens + lane * kTileTokens;
    if (lane < kTiles) {
      unit.blocks[lane] =
          token <= position ? arguments.tables.block_table[table + (token >> arguments.block_shift)] : 0;
    }
    if (lane == 0) {
      unit.position = position;
      unit.first_seen = first_seen(position, arguments.rows.window);
    }
  }
  set_unit(arguments, shared, i + 1, taken, total, work);
  __syncwarp();
}

// Where the keys of a tile of a unit are, whose first position is `first`.
template <class S>
__device__ __forceinline__ const std::byte* keys_of_tile(const Arguments& arguments, const Unit& unit,
                                                         int tile, int first) {
  return arguments.kv.base + unit.blocks[tile] * arguments.kv.block_stride +
         unit.head * arguments.kv.head_stride + (first & (arguments.kv.block_size - 1)) * S::kRowBytes;
}

// Asks for what the row sees of the first `tiles` tiles of unit i, up to 16.
template <class S>
__device__ __forceinline__ void ask_for_tiles(const Arguments& arguments, const Shared<S>& shared, int i,
                                              int tiles) {
#if __CUDA_ARCH__ >= 900
  const Unit& unit = shared.unit(i);
  const int tile = static_cast<int>(threadIdx.x) % kTiles;
  const int first = unit.split * kSplitTokens + tile * kTileTokens;
  if (tile >= tiles || unit.row < 0 || first > unit.position || first + kTileTokens <= unit.first_seen)
    return;
  const std::byte* from = keys_of_tile<S>(arguments, unit, tile, first);
  if (threadIdx.x % 32 >= kTiles) from += arguments.kv.value_offset;
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)),
               "r"(S::kTileBytes)
               : "memory");
#endif
}

}  // namespace baton::cuda::attention::decode
