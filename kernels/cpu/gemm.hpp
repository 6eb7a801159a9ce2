// gemm: y = x W^T + bias, with W packed in groups (pack.hpp).
//
// Two ways to the same bits. gemm_direct, for few rows, is bound by memory: it reads the packed weight once,
// forwards. gemm_blocked, for many, is bound by arithmetic: a block of a group is unpacked to f32 once and
// reused over the rows. Every y[r][n] is one chain of FMAs over k in ascending order, then the bias.
#pragma once

#include "kernels/cpu/pack.hpp"
#include "kernels/cpu/tile.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline constexpr int kDirectTile = 6;  // rows; wider vectors take more columns instead
inline constexpr int64_t kDirectRows = 3 * kDirectTile;
inline constexpr int64_t kBlockK = 256;     // of k: an unpacked panel of it fills half of L1
inline constexpr int64_t kBlockRows = 144;  // rows whose block of x stays in L2 beside the unpacked group

// A tile straight from the packed weight: R rows, V vectors of columns from c0 on, k in [k0, k0 + depth).
struct DirectArgs {
  int64_t group;
  int64_t first_row;
  int64_t c0;
  int64_t k0;
  int64_t depth;
};

// Vectors of an element type that share a cache line.
template <Element E>
inline constexpr int kLineVectors = most(1, 64 / (kLanes * static_cast<int64_t>(bytes_of(E))));

// An element type may load faster as a part of its value; x then makes up for it.
template <Element E>
inline constexpr bool kHasPart = requires {
  Stored<E>::kPart;
};
template <Element E>
inline Vec load_x(const float* x) {
  if constexpr (kHasPart<E>) return Vec::all(*x) * Vec::all(Stored<E>::kPart);
  return Vec::all(*x);
}
template <Element E>
inline Vec load_part(const typename Stored<E>::Type* p) {
  if constexpr (kHasPart<E>)
    return Stored<E>::load_part(p);
  else
    return Stored<E>::load(p);
}

template <Element E, int R, int V>
__attribute__((noinline)) void direct_tile(const GemmArgs& args, const DirectArgs& at) {
  const float* rows[R];
  for (int r = 0; r < R; ++r) rows[r] = args.x + (at.first_row + r) * args.x_stride + at.k0;
  const auto* w = static_cast<const typename Stored<E>::Type*>(args.weight) +
                  (at.group * args.in + at.k0) * kGroup + at.c0;
  const int64_t first_column = at.group * kGroup + at.c0;
  float* y = args.y + at.first_row * args.y_stride + first_column;
  const int64_t columns = least(V * kLanes, args.out - first_column);
  const bool whole = columns == V * kLanes;
  Vec acc[R][V];
  float edge[V * kLanes] = {};
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (at.k0 > 0 && !whole) {
      for (int64_t j = 0; j < columns; ++j) edge[j] = y[r * args.y_stride + j];
    }
    const float* from = whole ? y + r * args.y_stride : edge;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = at.k0 > 0 ? Vec::load(from + v * kLanes) : Vec::zero();
  }
  for (int64_t k = 0; k < at.depth; ++k, w += kGroup) {
    if constexpr (R > 1) {  // the next block: hardware follows one row's even reading, not this hopping
      for (int v = 0; v < V; v += kLineVectors<E>)
        __builtin_prefetch(w + at.depth * kGroup + v * kLanes, 0, 3);
    }
    if constexpr (R <= V) {  // what is fewer stays in registers: rows of x or columns of W
      Vec a[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) a[r] = load_x<E>(rows[r] + k);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Vec b = load_part<E>(w + v * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][v] = fma(a[r], b, acc[r][v]);
      }
    } else {
      Vec b[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) b[v] = Stored<E>::load(w + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vec a = Vec::all(rows[r][k]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(a, b[v], acc[r][v]);
      }
    }
  }
  const bool last = at.k0 + at.depth == args.in;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      if (last && args.scale) acc[r][v] = acc[r][v] * Vec::load(args.scale + first_column + v * kLanes);
      if (last && args.bias) acc[r][v] = acc[r][v] + Vec::load(args.bias + first_column + v * kLanes);
      if (whole) {
        acc[r][v].store(y + r * args.y_stride + v * kLanes);
      } else {
        acc[r][v].store(edge + v * kLanes);
      }
    }
    if (!whole) {
      for (int64_t j = 0; j < columns; ++j) y[r * args.y_stride + j] = edge[j];
    }
  }
}

// Vectors of a group that R rows take at once without spilling.
template <int R>
constexpr int direct_vectors() {
  return R * 8 + R + 1 <= kRegisters ? 8 : R * 4 + R + 1 <= kRegisters ? 4 : 2;
}

template <Element E, int R>
inline void direct_columns(const GemmArgs& args, DirectArgs at) {
  constexpr int kVectors = direct_vectors<R>();
  const int64_t columns = least(kGroup, args.out - at.group * kGroup);
  for (at.c0 = 0; at.c0 < columns; at.c0 += kVectors * kLanes) direct_tile<E, R, kVectors>(args, at);
}

template <Element E, int R = kDirectTile>
inline void direct_columns(const GemmArgs& args, const DirectArgs& at, int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return direct_columns<E, R - 1>(args, at, rows);
  }
  direct_columns<E, R>(args, at);
}

template <Element E>
inline void direct(const GemmArgs& args, int64_t group) {
  const TileRows tiles(args.rows, kDirectTile);
  // Of k: a block of a group stays in L1 while several tiles read it. One row reads each weight once anyway;
  // two or three are bound by memory, and a short block keeps the prefetched one close; more are bound by
  // arithmetic.
  const int64_t step = args.rows == 1 ? args.in : args.rows <= 3 ? 32 : 128;
  for (int64_t k0 = 0; k0 < args.in; k0 += step) {
    for (int64_t t = 0; t < tiles.tiles; ++t) {
      const int64_t first = tiles.first(t);
      const DirectArgs at{group, first, 0, k0, least(step, args.in - k0)};
      direct_columns<E>(args, at, tiles.first(t + 1) - first);
    }
  }
}

inline void gemm_direct(const GemmArgs& args, int64_t group) {
  with_element(args.type, [&]<Element E>() { direct<E>(args, group); });
}

// Blocks of x: [in / kBlockK][rows][kBlockK]. Rows of x often lie a multiple of 4 KiB apart and would fight
// for the same few lines of L1; these don't.
inline std::size_t gemm_block_floats(int64_t rows, int64_t in) {
  return static_cast<std::size_t>(ceil_div(in, kBlockK) * rows * kBlockK);
}

inline void gemm_block(const GemmArgs& args, RowRange range, float* blocks) {
  for (int64_t r = range.first; r < range.last; ++r) {
    for (int64_t k = 0; k < args.in; k += kBlockK) {
      float* to = blocks + (k / kBlockK * args.rows + r) * kBlockK;
      const int64_t count = least(kBlockK, args.in - k);
      __builtin_memcpy(to, args.x + r * args.x_stride + k, static_cast<std::size_t>(count) * sizeof(float));
    }
  }
}

inline std::size_t gemm_scratch_floats() { return static_cast<std::size_t>(kGroup * kBlockK); }

// [depth][kGroup] of any type -> [kGroup / kPanel][kBlockK][kPanel] of f32
template <Element E>
inline void unpack(const typename Stored<E>::Type* w, int64_t depth, float* panels) {
  for (int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < 8; ++v) {
      Stored<E>::load(w + k * kGroup + v * kLanes)
          .store(panels + (v / 2 * kBlockK + k) * kPanel + v % 2 * kLanes);
    }
  }
}

// All panels of one unpacked block of a group, for rows [range.first, range.last).
inline void blocked_tiles(const GemmArgs& args, int64_t group, int64_t k0, RowRange range,
                          const float* blocks, const float* panels) {
  const int64_t depth = least(kBlockK, args.in - k0);
  const float* x = blocks + (k0 / kBlockK * args.rows + range.first) * kBlockK;
  const TileRows tiles(range.last - range.first);
  const int64_t columns = least(kGroup, args.out - group * kGroup);
  for (int64_t c = 0; c < columns; c += kPanel) {
    TileArgs tile_args{};
    tile_args.b = panels + c * kBlockK;
    tile_args.k = depth;
    tile_args.c_stride = args.y_stride;
    tile_args.columns = least(kPanel, columns - c);
    tile_args.scale = args.scale && k0 + depth == args.in ? args.scale + group * kGroup + c : nullptr;
    tile_args.bias = args.bias && k0 + depth == args.in ? args.bias + group * kGroup + c : nullptr;
    tile_args.accumulate = k0 > 0;
    for (int64_t t = 0; t < tiles.tiles; ++t) {
      const int64_t first = tiles.first(t);
      const int64_t rows = tiles.first(t + 1) - first;
      const float* a[kTileRows] = {};
      for (int64_t r = 0; r < rows; ++r) a[r] = x + (first + r) * kBlockK;
      tile_args.a = a;
      tile_args.c = args.y + (range.first + first) * args.y_stride + group * kGroup + c;
      tile(tile_args, rows);
    }
  }
}

inline void gemm_blocked(const GemmArgs& args, int64_t group, RowRange range, const float* blocks,
                         float* scratch) {
  const int64_t parts = ceil_div(range.last - range.first, kBlockRows);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t rows = range.last - range.first;
    const RowRange some{range.first + rows * part / parts, range.first + rows * (part + 1) / parts};
    for (int64_t k0 = 0; k0 < args.in; k0 += kBlockK) {
      with_element(args.type, [&]<Element E>() {
        const auto* w = static_cast<const typename Stored<E>::Type*>(args.weight);
        unpack<E>(w + (group * args.in + k0) * kGroup, least(kBlockK, args.in - k0), scratch);
      });
      blocked_tiles(args, group, k0, some, blocks, scratch);
    }
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
