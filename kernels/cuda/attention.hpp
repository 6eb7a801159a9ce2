// Causal attention over the paged KV cache: row r of a step, at position p of its sequence, attends to
// positions 0..p, or to as many before p as a window leaves it, which the cache already holds (its own key
// and value included). Grouped: query head h reads KV head h / group.
//
// Two entries, since the two have opposite limits. Decode streams the cache (memory-bound) and cuts a row's
// positions into splits; prefill reuses each key for a tile of rows (compute-bound). For each, what a row
// gets is a function of its own positions only, bit for bit: splits and key tiles are fixed absolute ranges,
// merged in ascending order, so neither the batch nor the chunking shows. The two entries differ from each
// other by rounding.
//
// Nothing here allocates or synchronises; each function only launches on `stream`.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/element.hpp"
#include "kernels/cuda/paged_kv.hpp"
#include "kernels/cuda/step.hpp"

namespace baton::cuda {

inline constexpr std::int32_t kNoWindow = 1 << 30;  // more positions than there are

// The first position that a row at `position` sees.
__host__ __device__ constexpr std::int32_t first_seen(std::int32_t position, std::int32_t window) {
  return position < window ? 0 : position + 1 - window;
}

struct AttentionRows {
  const void* queries = nullptr;    // [rows][query_stride], head h of a row from h * head_dim on
  void* out = nullptr;              // [rows, query_heads * head_dim]
  std::int64_t query_stride = 0;    // elements from one row of queries to the next
  std::int32_t query_heads = 0;     // a multiple of PagedKv::kv_heads
  Element element = Element::bf16;  // of queries and out: f32, f16 or bf16
  float scale = 0;                  // of the scores, e.g. 1 / sqrt(head_dim)
  // How many positions a row sees, its own the last. Tiles of keys of which no row of a launch's unit of work
  // sees anything are not read.
  std::int32_t window = kNoWindow;
  // [query_heads], or null: scores, scaled, that count in the sum of a row's weights and have no value.
  // -infinity changes nothing, infinity leaves nothing else.
  const float* sinks = nullptr;
};

// ---- Decode

// Positions [split * kSplitTokens, (split + 1) * kSplitTokens) of a row are one item of work per KV head. At
// 256 one sequence of 4k tokens and 8 KV heads keeps 128 multiprocessors busy, and partial results are ~2 %
// of the traffic.
inline constexpr std::int32_t kSplitTokens = 256;

struct DecodeItem {
  std::int32_t row;
  std::int32_t split;
};

// The list is device memory, as is its length, so that a recorded graph can be replayed for another step. It
// and the tables are read before the launch before this one has ended: kernels must not write them. It
// is ordered by row, then by split, and holds for each of its rows every split from
// first_seen(position, window) / kSplitTokens to position / kSplitTokens: rows with a window have a list of
// their own. A row of position -1 has no items, and nothing is written for it.
struct DecodeAttention {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const DecodeItem* items = nullptr;  // [max_items], of which item_count are meant
  const std::int32_t* item_count = nullptr;
  std::int32_t max_items = 0;  // what item_count may come to; bounds the grid and the workspace
  void* workspace = nullptr;   // decode_workspace_bytes, zeroed once; a launch leaves its counters zero
};

std::size_t decode_workspace_bytes(std::int32_t max_items, std::int32_t query_heads, std::int32_t kv_heads,
                                   std::int32_t head_dim);

// Tensor cores serve f16 and bf16 rows with a cache of the same element or of e4m3, head_dim 64, 96, 128 or
// 256, up to 16 query heads per KV head (8 at 256), blocks of at least 16 tokens, 16-byte aligned rows of
// queries. Anything else (head_dim up to 512) goes to a plain kernel that is right, not fast.
// cudaErrorInvalidValue for what neither can do.
//
// With an e4m3 cache the products are f16 x f16 with f32 sums: every e4m3 value is exact in f16, and so is a
// bf16 query between 2^-14 and 65504 (larger ones are clamped to that; a smaller one is off by at most
// 2^-25).
cudaError_t decode_attention(const DecodeAttention& attention, cudaStream_t stream);

// ---- Prefill

// Rows [first_row, first_row + kPrefillTileRows) of a sequence's rows in this step, as far as it has that
// many.
inline constexpr std::int32_t kPrefillTileRows = 128;

struct PrefillTile {
  std::int32_t sequence;   // into StepTables::sequences
  std::int32_t first_row;  // within the sequence's rows of this step, a multiple of kPrefillTileRows
};

// `generic` is plain arithmetic; `mma` runs from sm_80 on, `resident` on sm_90 only; `best` is
// the fastest that can.
enum class PrefillVersion : std::uint8_t { best, generic, mma, resident };

// Tiles start in the order of the list: put those that see the most positions first, or the last ones run
// alone.
struct PrefillAttention {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;                   // sequences and block_table are read
  const PrefillTile* tiles = nullptr;  // [tile_count], device memory
  std::int32_t tile_count = 0;         // at most 65535
  PrefillVersion version = PrefillVersion::best;
};

// Tensor cores under the same conditions as for decode, with head_dim 64 or 128 and any group. A version that
// is named but can not do it is cudaErrorInvalidValue.
cudaError_t prefill_attention(const PrefillAttention& attention, cudaStream_t stream);

}  // namespace baton::cuda
