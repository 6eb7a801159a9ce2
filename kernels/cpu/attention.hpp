// attention: softmax(q K^T * scale) V over a paged KV cache, cut at fixed absolute positions.
//
// One call handles one split (kAttentionSplit keys) of one KV head for a tile of query rows and all query
// heads that share the head: K and V of the split are unpacked to f32 once, K transposed, and both products
// run on the register tile. A row's partial is made of its own keys alone (never of a later row's, not even
// times zero), in ascending order of position, so neither chunking nor block size can show in it. Partials of
// successive splits are folded from left to right (Milakov and Gimelshein 2018).
#pragma once

#include "kernels/cpu/tile.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

static_assert(kAttentionSplit % kPanel == 0);

inline constexpr int64_t kPartialHead = 16;  // [0] maximum, [1] sum; the V sum starts one line later

inline std::size_t attention_partial_floats(int64_t head_dim) {
  return static_cast<std::size_t>(kPartialHead + round_up(head_dim, kPanel));
}

// K [kAttentionSplit / kPanel][head_dim][kPanel], V [head_dim / kPanel][kAttentionSplit][kPanel], scores
inline std::size_t attention_scratch_floats(int64_t head_dim) {
  return static_cast<std::size_t>(2 * kAttentionSplit * round_up(head_dim, kPanel) +
                                  kTileRows * kAttentionSplit);
}

// What a row sees of a split: keys [first, last), counted from the split's beginning; nothing is [0, 0).
struct KeyRange {
  int64_t first = 0;
  int64_t last = 0;
};

inline KeyRange keys_seen(const AttentionArgs& args, int64_t position, int64_t split_first) {
  const int64_t first = most(0, position + 1 - args.window - split_first);
  const int64_t last = least(kAttentionSplit, position + 1 - split_first);
  return first < last ? KeyRange{first, last} : KeyRange{};
}

template <Element E>
inline const typename Stored<E>::Type* kv_row(const KvPieces& kv, std::size_t offset, int64_t position,
                                              int64_t head_dim) {
  const std::int32_t block = kv.block_table[position / kv.block_size];
  const std::byte* piece = kv.base + static_cast<std::size_t>(block) * kv.block_bytes + offset;
  return reinterpret_cast<const typename Stored<E>::Type*>(piece) + position % kv.block_size * head_dim;
}

// Of the split that begins at position `first` the keys [skip, count), `skip` a multiple of kPanel, as
// columns. Columns past `count` are zero.
template <Element E>
inline void unpack_keys(const AttentionArgs& args, int64_t first, int64_t skip, int64_t count, float* keys) {
  const int64_t dim = args.head_dim;
  for (int64_t j0 = skip; j0 < round_up(count, kPanel); j0 += kLanes) {
    float* columns = keys + j0 / kPanel * dim * kPanel + j0 % kPanel;  // [dim], kPanel apart
    const typename Stored<E>::Type* rows[kLanes];
    for (int64_t j = 0; j < kLanes; ++j) {
      rows[j] = j0 + j < count ? kv_row<E>(args.kv, args.kv.k_offset, first + j0 + j, dim) : nullptr;
    }
    int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) {
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) block[j] = rows[j] ? Stored<E>::load(rows[j] + d) : Vec::zero();
      transpose(block);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) block[j].store(columns + (d + j) * kPanel);
    }
    for (; d < dim; ++d) {
      for (int j = 0; j < kLanes; ++j) columns[d * kPanel + j] = rows[j] ? load_one<E>(rows[j] + d) : 0.0F;
    }
  }
}

template <Element E>
inline void unpack_values(const AttentionArgs& args, int64_t first, int64_t skip, int64_t count,
                          float* values) {
  const int64_t dim = args.head_dim;
  for (int64_t j = skip; j < count; ++j) {
    const auto* row = kv_row<E>(args.kv, args.kv.v_offset, first + j, dim);
    int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) {
      Stored<E>::load(row + d).store(values + (d / kPanel * kAttentionSplit + j) * kPanel + d % kPanel);
    }
    for (; d < round_up(dim, kPanel); ++d) {
      values[(d / kPanel * kAttentionSplit + j) * kPanel + d % kPanel] =
          d < dim ? load_one<E>(row + d) : 0.0F;
    }
  }
}

// Raw dot products in, exponentials out, both in `scores`, of the keys that are seen; writes maximum and sum.
inline void softmax_row(float* scores, KeyRange seen, float scale, float* partial) {
  const int64_t count = seen.last, first = seen.first / kLanes * kLanes;
  for (int64_t j = first; j < seen.first; ++j) scores[j] = -__builtin_inff();
  for (int64_t j = count; j < round_up(count, kLanes); ++j) scores[j] = -__builtin_inff();
  Vec best = Vec::all(-__builtin_inff());
  for (int64_t j = first; j < count; j += kLanes) {
    const Vec scaled = Vec::load(scores + j) * Vec::all(scale);
    scaled.store(scores + j);
    best = max(scaled, best);
  }
  const float highest = maximum(best);
  Vec total = Vec::zero();
  for (int64_t j = first; j < count; j += kLanes) {
    const Vec e = exp(Vec::load(scores + j) - Vec::all(highest));
    e.store(scores + j);
    total = total + e;
  }
  partial[0] = highest;
  partial[1] = sum(total);
}

// The V sums of a tile: the keys all its rows see together, what only some of them see row by row.
inline void value_sums(const float* const* scores, const KeyRange* seen, int64_t rows, const float* values,
                       int64_t head_dim, float* partials) {
  const auto stride = static_cast<int64_t>(attention_partial_floats(head_dim));
  KeyRange common = seen[0];
  bool same_start = true;
  for (int64_t r = 1; r < rows; ++r) {
    same_start = same_start && seen[r].first == seen[0].first;
    common = {most(common.first, seen[r].first), least(common.last, seen[r].last)};
  }
  const bool together = common.first < common.last;
  for (int64_t d = 0; d < head_dim; d += kPanel) {
    TileArgs args{};
    args.c = partials + kPartialHead + d;
    args.c_stride = stride;
    args.columns = kPanel;
    const auto add = [&](int64_t r, int64_t first, int64_t last) {
      const float* from = scores[r] + first;
      TileArgs part = args;
      part.a = &from;
      part.b = values + d * kAttentionSplit + first * kPanel;
      part.k = last - first;
      part.c = args.c + r * stride;
      part.accumulate = first > seen[r].first;
      tile<1>(part);
    };
    if (!together) {
      for (int64_t r = 0; r < rows; ++r) add(r, seen[r].first, seen[r].last);
      continue;
    }
    if (!same_start) {
      for (int64_t r = 0; r < rows; ++r) add(r, seen[r].first, common.first);
    }
    const float* from[kTileRows] = {};
    for (int64_t r = 0; r < rows; ++r) from[r] = scores[r] + common.first;
    args.a = from;
    args.b = values + d * kAttentionSplit + common.first * kPanel;
    args.k = common.last - common.first;
    args.accumulate = !same_start;
    tile(args, rows);
    for (int64_t r = 0; r < rows; ++r) {
      if (seen[r].last > common.last) add(r, common.last, seen[r].last);
    }
  }
}

// One tile of (row, head) pairs [first, first + rows) against the unpacked split.
inline void split_tile(const AttentionArgs& args, int64_t split_first, RowRange range, float* partials,
                       float* scratch) {
  const int64_t padded = round_up(args.head_dim, kPanel);
  const float* keys = scratch;
  const float* values = keys + kAttentionSplit * padded;
  float* scores = scratch + 2 * kAttentionSplit * padded;
  const int64_t rows = range.last - range.first;
  const float* q[kTileRows] = {};
  const float* score_rows[kTileRows] = {};
  KeyRange seen[kTileRows] = {};
  KeyRange any{kAttentionSplit, 0};
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = range.first + r;
    q[r] = args.q + i / args.heads * args.q_stride + i % args.heads * args.head_dim;
    score_rows[r] = scores + r * kAttentionSplit;
    seen[r] = keys_seen(args, args.first_position + i / args.heads, split_first);
    if (seen[r].last > 0) any = {least(any.first, seen[r].first), most(any.last, seen[r].last)};
  }
  for (int64_t j = any.first / kPanel * kPanel; j < any.last; j += kPanel) {
    TileArgs tile_args{};
    tile_args.a = q;
    tile_args.b = keys + j * args.head_dim;
    tile_args.k = args.head_dim;
    tile_args.c = scores + j;
    tile_args.c_stride = kAttentionSplit;
    tile_args.columns = kPanel;
    tile(tile_args, rows);
  }
  const auto stride = static_cast<int64_t>(attention_partial_floats(args.head_dim));
  float* out = partials + range.first * stride;
  for (int64_t r = 0; r < rows; ++r) {
    softmax_row(scores + r * kAttentionSplit, seen[r], args.scale, out + r * stride);
  }
  value_sums(score_rows, seen, rows, values, args.head_dim, out);
}

inline void attention_split(const AttentionArgs& args, int64_t split, float* partials, float* scratch) {
  const int64_t first = split * kAttentionSplit;
  const int64_t count = least(kAttentionSplit, args.first_position + args.rows - first);
  const int64_t skip = most(0, args.first_position + 1 - args.window - first) / kPanel * kPanel;
  with_element(args.kv.type, [&]<Element E>() {
    unpack_keys<E>(args, first, skip, count, scratch);
    unpack_values<E>(args, first, skip, count, scratch + kAttentionSplit * round_up(args.head_dim, kPanel));
  });
  const TileRows tiles(args.rows * args.heads);
  for (int64_t t = 0; t < tiles.tiles; ++t) {
    split_tile(args, first, {tiles.first(t), tiles.first(t + 1)}, partials, scratch);
  }
}

inline void attention_merge(float* running, const float* next, int64_t count, int64_t head_dim) {
  const auto stride = static_cast<int64_t>(attention_partial_floats(head_dim));
  for (int64_t i = 0; i < count; ++i, running += stride, next += stride) {
    if (next[1] == 0.0F) continue;  // this row sees nothing of the split
    if (running[1] == 0.0F) {
      __builtin_memcpy(running, next, static_cast<std::size_t>(stride) * sizeof(float));
      continue;
    }
    const float highest = running[0] > next[0] ? running[0] : next[0];
    const float keep = exp(running[0] - highest);
    const float take = exp(next[0] - highest);
    running[0] = highest;
    running[1] = fma(running[1], keep, next[1] * take);
    for (int64_t d = kPartialHead; d < stride; d += kLanes) {
      fma(Vec::load(running + d), Vec::all(keep), Vec::load(next + d) * Vec::all(take)).store(running + d);
    }
  }
}

inline void attention_finish(const float* running, int64_t head_dim, const float* sink, float* out) {
  float inverse = 1.0F / running[1];
  if (sink != nullptr) {
    const float highest = running[0] > *sink ? running[0] : *sink;
    const float keep = exp(running[0] - highest);
    const float take = *sink == highest ? 1.0F : exp(*sink - highest);  // an infinite one takes all
    inverse = keep / fma(running[1], keep, take);
  }
  for (int64_t d = 0; d < head_dim; ++d) out[d] = running[kPartialHead + d] * inverse;
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
