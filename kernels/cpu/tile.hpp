// tile: the register tile that matrix products and attention are made of.
//
// c[r][j] = (((a[r][0] * b[0][j]) + a[r][1] * b[1][j]) + ...): one chain of FMAs over k per element, whatever
// the number of rows, which is why a row's result does not depend on the tile it happens to be in.
// `accumulate` continues the chain that lies in c.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline constexpr int64_t kPanel = 2 * kLanes;  // columns of a tile

struct TileArgs {
  const float* const* a;  // kTileRows row pointers
  const float* b;         // [k][kPanel]
  int64_t k;
  float* c;
  int64_t c_stride;
  int64_t columns;     // valid ones, at most kPanel
  const float* scale;  // [columns] of c, or null; before the bias
  const float* bias;   // added after the chain, or null
  bool accumulate;
};

// Not inlined: among its callers' variables the accumulators would not all stay in registers.
template <int R>
__attribute__((noinline)) void tile(const TileArgs& args) {
  const float* rows[R];
  Vec acc[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    rows[r] = args.a[r];
    acc[r][0] = Vec::zero();
    acc[r][1] = Vec::zero();
  }
  float edge[kPanel];
  const bool whole = args.columns == kPanel;
  if (args.accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const float* c = args.c + r * args.c_stride;
      if (!whole) {
        for (int64_t j = 0; j < kPanel; ++j) edge[j] = j < args.columns ? c[j] : 0.0F;
        c = edge;
      }
      acc[r][0] = Vec::load(c);
      acc[r][1] = Vec::load(c + kLanes);
    }
  }
  const float* b = args.b;
  for (int64_t k = 0; k < args.k; ++k, b += kPanel) {
    const Vec b0 = Vec::load(b);
    const Vec b1 = Vec::load(b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec a = Vec::all(rows[r][k]);
      acc[r][0] = fma(a, b0, acc[r][0]);
      acc[r][1] = fma(a, b1, acc[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (args.scale) {
      acc[r][0] = acc[r][0] * Vec::load(args.scale);
      acc[r][1] = acc[r][1] * Vec::load(args.scale + kLanes);
    }
    if (args.bias) {
      acc[r][0] = acc[r][0] + Vec::load(args.bias);
      acc[r][1] = acc[r][1] + Vec::load(args.bias + kLanes);
    }
    float* c = args.c + r * args.c_stride;
    if (whole) {
      acc[r][0].store(c);
      acc[r][1].store(c + kLanes);
    } else {
      acc[r][0].store_n(c, least(args.columns, kLanes));
      if (args.columns > kLanes) acc[r][1].store_n(c + kLanes, args.columns - kLanes);
    }
  }
}

template <int R = kTileRows>
inline void tile(const TileArgs& args, int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return tile<R - 1>(args, rows);
  }
  tile<R>(args);
}

// Tiles of nearly equal height: 8 rows are 4 + 4, not 6 + 2.
struct TileRows {
  int64_t rows;
  int64_t tiles;
  explicit TileRows(int64_t n, int64_t height = kTileRows) : rows(n), tiles(ceil_div(n, height)) {}
  int64_t first(int64_t tile_index) const { return rows * tile_index / tiles; }
};

}  // namespace BATON_ISA
}  // namespace baton::kernels
