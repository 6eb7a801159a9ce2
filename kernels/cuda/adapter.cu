// adapter_shrink and adapter_expand: a block takes runs, neighbouring rows of one adapter, and does the same
// for each row of a run, whatever their number.
#include "kernels/cuda/adapter.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr std::int32_t kFewRows = 128;  // up to these a block looks at one row for a run, else at kAdapterRun
constexpr int kShrinkThreads = 256;
constexpr int kRanks = 4;  // inner values of a row that a block makes
constexpr int kExpandThreads = 128;
constexpr int kStaged = 64;  // inner values of a row in shared memory at once

// Neighbouring rows of one adapter. Runs end at multiples of kAdapterRun.
struct Run {
  std::int32_t row, rows;  // the first, and how many
  AdapterEntry adapter;
};

// How many rows a run from `row` on has; 0 where another row begins it or there is no adapter.
__device__ __forceinline__ std::int32_t run_at(const std::int32_t* of_row, std::int32_t row,
                                               std::int32_t rows) {
  const std::int32_t adapter = of_row[row];
  if (adapter < 0 || (row % kAdapterRun != 0 && of_row[row - 1] == adapter)) return 0;
  std::int32_t next = row + 1;
  while (next < rows && next % kAdapterRun != 0 && of_row[next] == adapter) ++next;
  return next - row;
}

// take(run) for each that begins among the block's `span` rows.
template <class Take>
__device__ __forceinline__ void for_runs(const AdapterRows& adapters, std::int32_t rows, std::int32_t span,
                                         Take take) {
  const auto first = static_cast<std::int32_t>(blockIdx.x) * span;
  for (std::int32_t row = first; row < min(first + span, rows); ++row) {
    const std::int32_t count = run_at(adapters.of_row, row, rows);
    if (count == 0) continue;
    const Run run{row, count, adapters.adapters[adapters.of_row[row]]};
    if (run.adapter.rank > 0) take(run);
  }
}

// Sums over a warp of N values a lane, N a power of two up to 32: each lane gets that of value lane * N / 32.
// Lanes meet at distances 16 to 1 for any N, so N does not change a sum.
template <int N>
__device__ __forceinline__ float warp_sums(float (&value)[N]) {
  int count = N;
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    if (count == 1) {
      value[0] += __shfl_xor_sync(0xffffffffU, value[0], distance);
      continue;
    }
    count /= 2;
    const bool upper = (threadIdx.x & distance) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      if (i >= count) break;
      const float kept = upper ? value[i + count] : value[i];
      const float given = upper ? value[i] : value[i + count];
      value[i] = kept + __shfl_xor_sync(0xffffffffU, given, distance);
    }
  }
  return value[0];
}

using Partials = float[kShrinkThreads / 32][kAdapterRun * kRanks];

// kRanks inner values of up to Most rows. A thread's columns follow from x.cols alone.
template <class T, bool Wide, int Most>
__device__ __forceinline__ void shrink_run(const ConstRows& x, const Run& run, float* inner,
                                           std::int32_t pitch, Partials& partials) {
  constexpr int kColumns = kPerLoad<T>;
  constexpr int kValues = Most * kRanks;
  constexpr int kUnroll = Most == 1 ? 2 : 1;  // of one row the loads are what takes time
  const auto first_rank = static_cast<std::int32_t>(blockIdx.y) * kRanks;
  const T* const rows = static_cast<const T*>(x.data) + run.row * x.stride;
  const T* const down =
      static_cast<const T*>(run.adapter.down) + static_cast<std::int64_t>(first_rank) * x.cols;
  float sums[kValues] = {};
#pragma unroll(kUnroll)
  for (std::int32_t column = static_cast<std::int32_t>(threadIdx.x) * kColumns; column < x.cols;
       column += kShrinkThreads * kColumns) {
    // Beyond the last rank and the last row those are read again, and what comes of it is not stored.
    float weight[kRanks][kColumns];
    const T* from = down;
#pragma unroll
    for (int j = 0; j < kRanks; ++j) {
      load_columns<Wide>(from, column, x.cols, weight[j]);
      if (first_rank + j + 1 < run.adapter.rank) from += x.cols;
    }
    from = rows;
#pragma unroll
    for (int r = 0; r < Most; ++r) {
      float value[kColumns];
      load_columns<Wide>(from, column, x.cols, value);
      if (r + 1 < run.rows) from += x.stride;
#pragma unroll
      for (int j = 0; j < kRanks; ++j) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
          sums[r * kRanks + j] = fmaf(value[i], weight[j][i], sums[r * kRanks + j]);
      }
    }
  }
  const float sum = warp_sums(sums);
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  if (thread % (32 / kValues) == 0) partials[thread / 32][thread % 32 * kValues / 32] = sum;
  __syncthreads();
  const std::int32_t r = thread / kRanks, rank = first_rank + thread % kRanks;
  if (r < run.rows && rank < run.adapter.rank) {
    float total = 0.0F;
#pragma unroll
    for (int warp = 0; warp < kShrinkThreads / 32; ++warp) total += partials[warp][thread];
    inner[static_cast<std::int64_t>(run.row + r) * pitch + rank] = run.adapter.scales[rank] * total;
  }
  __syncthreads();  // the next run writes partials, too
}

template <class T, bool Wide>
__global__ void __launch_bounds__(kShrinkThreads, Wide ? 2 : 1)
    adapter_shrink_kernel(const ConstRows x, const AdapterRows adapters, float* __restrict__ inner,
                          std::int32_t span) {
  __shared__ Partials partials;
  let_next_start();
  wait_for_previous();
  for_runs(adapters, x.rows, span, [&](const Run& run) {
    if (static_cast<std::int32_t>(blockIdx.y) * kRanks >= run.adapter.rank) return;  // others' are larger
    if (run.rows == 1) {
      shrink_run<T, Wide, 1>(x, run, inner, adapters.most_rank, partials);
    } else {
      shrink_run<T, Wide, kAdapterRun>(x, run, inner, adapters.most_rank, partials);
    }
  });
}

using Staged = float[kStaged][kAdapterRun];

// A thread's columns of up to Most rows: one chain of fused multiply-adds in the order of ranks, added to y.
template <class T, class Y, bool Wide, int Most>
__device__ __forceinline__ void expand_run(const float* inner, std::int32_t pitch, const Rows& y,
                                           const Run& run, Staged& staged) {
  constexpr int kColumns = kPerLoad<T>;
  constexpr int kUnroll = Most == 1 ? 8 : 2;
  const auto column = static_cast<std::int32_t>(blockIdx.y * kExpandThreads + threadIdx.x) * kColumns;
  const T* const up = static_cast<const T*>(run.adapter.up);
  float sum[Most][kColumns] = {};
  for (std::int32_t first = 0; first < run.adapter.rank; first += kStaged) {
    const std::int32_t ranks = min(kStaged, run.adapter.rank - first);
    for (auto i = static_cast<std::int32_t>(threadIdx.x); i < ranks * Most; i += kExpandThreads) {
      const std::int32_t r = i / ranks, j = i % ranks;
      staged[j][r] = r < run.rows ? inner[static_cast<std::int64_t>(run.row + r) * pitch + first + j] : 0.0F;
    }
    __syncthreads();
    const std::int32_t here = column < y.cols ? ranks : 0;
#pragma unroll(kUnroll)
    for (std::int32_t j = 0; j < here; ++j) {
      float weight[kColumns];
      load_columns<Wide>(up + static_cast<std::int64_t>(first + j) * y.cols, column, y.cols, weight);
#pragma unroll
      for (int r = 0; r < Most; ++r) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) sum[r][i] = fmaf(staged[j][r], weight[i], sum[r][i]);
      }
    }
    __syncthreads();  // the next ranks, or the next run's, take the place of these
  }
  if (column >= y.cols) return;
#pragma unroll
  for (int r = 0; r < Most; ++r) {
    if (r >= run.rows) break;
    Y* const to = static_cast<Y*>(y.data) + (run.row + r) * y.stride;
    float value[kColumns];
    load_columns<Wide>(to, column, y.cols, value);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) value[i] += sum[r][i];
    store_columns<Wide>(to, column, y.cols, value);
  }
}

template <class T, class Y, bool Wide>
__global__ void __launch_bounds__(kExpandThreads)
    adapter_expand_kernel(const float* __restrict__ inner, const AdapterRows adapters, const Rows y,
                          std::int32_t span) {
  __shared__ __align__(16) Staged staged;
  let_next_start();
  wait_for_previous();
  for_runs(adapters, y.rows, span, [&](const Run& run) {
    if (run.rows == 1) {
      expand_run<T, Y, Wide, 1>(inner, adapters.most_rank, y, run, staged);
    } else {
      expand_run<T, Y, Wide, kAdapterRun>(inner, adapters.most_rank, y, run, staged);
    }
  });
}

std::int32_t span_of(std::int32_t rows) { return rows <= kFewRows ? 1 : kAdapterRun; }

// Blocks: x looks for runs among `span` rows, y makes a part of what each row gets.
dim3 grid_of(std::int32_t rows, std::int32_t parts) {
  return dim3(static_cast<unsigned>(divide_up(rows, span_of(rows))), static_cast<unsigned>(parts));
}

bool is_empty(const ConstRows& rows, const AdapterRows& adapters) {
  return rows.rows == 0 || rows.cols == 0 || adapters.most_rank == 0;
}

}  // namespace

cudaError_t adapter_shrink(const ConstRows& x, const AdapterRows& adapters, float* inner,
                           cudaStream_t stream) {
  if (x.element != adapters.element) return cudaErrorInvalidValue;
  if (is_empty(x, adapters)) return cudaSuccess;
  return with_activation(x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    return with_bool(is_wide(x, kPerLoad<T>), [&](auto wide) {
      return launch(adapter_shrink_kernel<T, decltype(wide)::value>,
                    grid_of(x.rows, divide_up(adapters.most_rank, kRanks)), kShrinkThreads, 0, stream, x,
                    adapters, inner, span_of(x.rows));
    });
  });
}

cudaError_t adapter_expand(const float* inner, const AdapterRows& adapters, const Rows& y,
                           cudaStream_t stream) {
  if (y.element != adapters.element && y.element != Element::f32) return cudaErrorInvalidValue;
  if (is_empty(y, adapters)) return cudaSuccess;
  return with_activation(adapters.element, [&](auto element) {
    using T = typename decltype(element)::type;
    const dim3 grid = grid_of(y.rows, divide_up(y.cols, kExpandThreads * kPerLoad<T>));
    return with_bool(is_wide(y, kPerLoad<T>), [&](auto wide) {
      constexpr bool kWide = decltype(wide)::value;
      auto* const kernel = y.element == Element::f32 ? adapter_expand_kernel<T, float, kWide>
                                                     : adapter_expand_kernel<T, T, kWide>;
      return launch(kernel, grid, kExpandThreads, 0, stream, inner, adapters, y, span_of(y.rows));
    });
  });
}

}  // namespace baton::cuda
