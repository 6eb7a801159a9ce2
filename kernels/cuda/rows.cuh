// What the kernels over rows share: reading and writing a few neighbouring columns as f32, sums over a block,
// and the choice of instantiation. A thread owns the same columns whether they are accessed 16 bytes at a
// time (Wide) or one by one, so alignment never changes an order of summation.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.hpp"

namespace baton::cuda {

inline constexpr float kMaxE4m3 = 448.0F;

// N columns from `column` on; those past the end read as zero. Wide: all N are there, or none was asked for.
template <bool Wide, int N, class T>
__device__ __forceinline__ void load_columns(const T* row, std::int32_t column, std::int32_t cols,
                                             float (&values)[N]) {
  if constexpr (Wide) {
    constexpr int kPart = N < kPerLoad<T> ? N : kPerLoad<T>;
#pragma unroll
    for (int first = 0; first < N; first += kPart) {
      const auto part = *reinterpret_cast<const Pack<T, kPart>*>(row + column + first);
#pragma unroll
      for (int i = 0; i < kPart; ++i) values[first + i] = to_float(part.at[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = column + i < cols ? to_float(row[column + i]) : 0.0F;
  }
}

template <bool Wide, int N, class T>
__device__ __forceinline__ void store_columns(T* row, std::int32_t column, std::int32_t cols,
                                              const float (&values)[N]) {
  if constexpr (Wide) {
    constexpr int kPart = N < kPerLoad<T> ? N : kPerLoad<T>;
#pragma unroll
    for (int first = 0; first < N; first += kPart) {
      Pack<T, kPart> part;
#pragma unroll
      for (int i = 0; i < kPart; ++i) part.at[i] = from_float<T>(values[first + i]);
      *reinterpret_cast<Pack<T, kPart>*>(row + column + first) = part;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (column + i < cols) row[column + i] = from_float<T>(values[i]);
  }
}

// Whether groups of `count` columns may be accessed as one (or 16 bytes at a time, where that is less).
inline bool is_wide(const ConstRows& x, std::int32_t count) {
  const auto bytes = std::min<std::int64_t>(16, count * static_cast<std::int64_t>(size_of(x.element)));
  const auto stride = x.stride * static_cast<std::int64_t>(size_of(x.element));
  return reinterpret_cast<std::uintptr_t>(x.data) % static_cast<std::uintptr_t>(bytes) == 0 &&
         (stride % bytes == 0 || x.rows == 1) && x.cols % count == 0;
}

template <class T>
const T* row_data(const ConstRows& x) {
  return static_cast<const T*>(x.data);
}
template <class T>
T* row_data(const Rows& x) {
  return static_cast<T*>(x.data);
}

struct Sum {
  static constexpr float kNeutral = 0.0F;
  __device__ static float of(float a, float b) { return a + b; }
};
struct Max {
  static constexpr float kNeutral = 0.0F;  // of magnitudes
  __device__ static float of(float a, float b) { return fmaxf(a, b); }
};

template <class Operation>
__device__ __forceinline__ float warp_reduce(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = Operation::of(value, __shfl_xor_sync(0xffffffffU, value, distance));
  return value;
}

// Of a whole block, in every thread; blockDim.x is a multiple of 32. One barrier: `partial` [32] may be used
// again only after a barrier that follows, so a loop alternates between two.
template <class Operation>
__device__ __forceinline__ float block_reduce(float value, float* partial) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_reduce<Operation>(value);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  return warp_reduce<Operation>(lane < warps ? partial[lane] : Operation::kNeutral);
}

// The scale of a row whose largest magnitude is `largest`; one whose inverse would overflow is as good as
// zeros.
__device__ __forceinline__ float e4m3_scale(float largest) {
  return largest > 1e-30F ? largest / kMaxE4m3 : 1.0F;
}

template <class T>
struct Type {
  using type = T;
};

// f(Type<T>{}) for an element that activations may have.
template <class F>
cudaError_t with_activation(Element element, F f) {
  switch (element) {
    case Element::f32:
      return f(Type<float>{});
    case Element::f16:
      return f(Type<f16>{});
    case Element::bf16:
      return f(Type<bf16>{});
    case Element::e4m3:
      break;
  }
  return cudaErrorInvalidValue;
}

// f(std::true_type{}) or f(std::false_type{}).
template <class F>
cudaError_t with_bool(bool value, F f) {
  return value ? f(std::true_type{}) : f(std::false_type{});
}

inline std::int32_t multiprocessors() {
  static const std::int32_t count = [] {
    int device = 0, found = 0;
    const bool known = cudaGetDevice(&device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&found, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
    return known ? found : 1;
  }();
  return count;
}

constexpr std::int32_t divide_up(std::int32_t a, std::int32_t b) { return (a + b - 1) / b; }

inline constexpr std::int32_t kElementWiseThreads = 256;

// Blocks for an element-wise operation: x is the row, y a part of it. Many rows fill the device by
// themselves; the columns of few are spread over blocks.
inline dim3 element_wise_grid(std::int32_t rows, std::int32_t cols, std::int32_t per_thread) {
  const std::int32_t parts = divide_up(cols, per_thread * kElementWiseThreads);
  const std::int32_t wanted = divide_up(8 * multiprocessors(), rows);
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>(std::clamp(wanted, 1, parts)));
}

// y[r] = x[index[r]], or x[r] without an index.
template <class From, class To, bool Wide>
__global__ void __launch_bounds__(kElementWiseThreads)
    copy_rows_kernel(const From* __restrict__ x, std::int64_t x_stride,
                     const std::int32_t* __restrict__ index, To* __restrict__ y, std::int64_t y_stride,
                     std::int32_t cols) {
  constexpr int kColumns = 16 / static_cast<int>(sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  let_next_start();
  wait_for_previous();
  const std::int64_t row = blockIdx.x;
  const std::int64_t source = index ? index[row] : row;
  const From* from = x + source * x_stride;
  To* to = y + row * y_stride;
  const auto step = static_cast<std::int32_t>(gridDim.y) * kElementWiseThreads * kColumns;
  const auto first = static_cast<std::int32_t>(blockIdx.y * kElementWiseThreads + threadIdx.x) * kColumns;
#pragma unroll 4
  for (std::int32_t column = first; column < cols; column += step) {
    if constexpr (Wide && std::is_same_v<From, To>) {
      Pack<From, kColumns> bits{};
      if (source >= 0) bits = *reinterpret_cast<const Pack<From, kColumns>*>(from + column);
      *reinterpret_cast<Pack<From, kColumns>*>(to + column) = bits;
    } else if constexpr (std::is_same_v<From, To>) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (column + i < cols) to[column + i] = source >= 0 ? from[column + i] : From{};
    } else {
      float values[kColumns] = {};
      if (source >= 0) load_columns<Wide>(from, column, cols, values);
      store_columns<Wide>(to, column, cols, values);
    }
  }
}

template <class From, class To>
cudaError_t copy_rows(const ConstRows& x, const std::int32_t* index, const Rows& y, cudaStream_t stream) {
  if (x.cols != y.cols) return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  constexpr std::int32_t kColumns = 16 / static_cast<std::int32_t>(std::max(sizeof(From), sizeof(To)));
  return with_bool(is_wide(x, kColumns) && is_wide(y, kColumns), [&](auto wide) {
    return launch(copy_rows_kernel<From, To, decltype(wide)::value>,
                  element_wise_grid(y.rows, y.cols, kColumns), kElementWiseThreads, 0, stream,
                  row_data<From>(x), x.stride, index, row_data<To>(y), y.stride, y.cols);
  });
}

}  // namespace baton::cuda
