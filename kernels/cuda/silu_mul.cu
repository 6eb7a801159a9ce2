// silu_mul: gate / (1 + e^-gate) * up, to activations or to e4m3 with one scale a row.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr std::int32_t kQuantiseThreads = 512;
constexpr std::int32_t kHeldColumns = 32;  // a thread's, kept between finding the scale and applying it

template <class T>
__device__ __forceinline__ float silu_times(float gate, float up) {
  if constexpr (std::is_same_v<T, float>) {
    return gate / (1.0F + expf(-gate)) * up;
  } else {  // a few units of 2^-22: far below the rounding of the result
    return __fdividef(gate, 1.0F + __expf(-gate)) * up;
  }
}

template <class T, bool Wide>
__device__ __forceinline__ void silu_mul_columns(const T* gate, const T* up, std::int32_t column,
                                                 std::int32_t cols, float (&values)[kPerLoad<T>]) {
  float factor[kPerLoad<T>];
  load_columns<Wide>(gate, column, cols, values);
  load_columns<Wide>(up, column, cols, factor);
#pragma unroll
  for (int i = 0; i < kPerLoad<T>; ++i) values[i] = silu_times<T>(values[i], factor[i]);
}

template <class T, bool Wide>
__global__ void __launch_bounds__(kElementWiseThreads)
    silu_mul_kernel(const T* __restrict__ gate_up, std::int64_t x_stride, T* __restrict__ y,
                    std::int64_t y_stride, std::int32_t cols) {
  constexpr int kColumns = kPerLoad<T>;
  let_next_start();
  wait_for_previous();
  const T* gate = gate_up + blockIdx.x * x_stride;
  T* to = y + blockIdx.x * y_stride;
  const auto step = static_cast<std::int32_t>(gridDim.y) * kElementWiseThreads * kColumns;
  const auto first = static_cast<std::int32_t>(blockIdx.y * kElementWiseThreads + threadIdx.x) * kColumns;
#pragma unroll 2
  for (std::int32_t column = first; column < cols; column += step) {
    float values[kColumns];
    silu_mul_columns<T, Wide>(gate, gate + cols, column, cols, values);
    store_columns<Wide>(to, column, cols, values);
  }
}

// A block a row. What does not fit into registers is computed twice.
template <class T, bool Wide>
__global__ void __launch_bounds__(kQuantiseThreads)
    silu_mul_quantise_kernel(const T* __restrict__ gate_up, std::int64_t x_stride, e4m3* __restrict__ y,
                             std::int64_t y_stride, float* __restrict__ scales, std::int32_t cols) {
  constexpr int kColumns = kPerLoad<T>;
  constexpr int kGroups = kHeldColumns / kColumns;
  __shared__ float largest[32];
  let_next_start();
  wait_for_previous();
  const T* gate = gate_up + blockIdx.x * x_stride;
  e4m3* to = y + blockIdx.x * y_stride;
  const auto step = static_cast<std::int32_t>(blockDim.x) * kColumns;
  const auto first = static_cast<std::int32_t>(threadIdx.x) * kColumns;

  float held[kGroups][kColumns] = {};
  float most = 0.0F;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const std::int32_t column = first + group * step;
    if (column < cols) silu_mul_columns<T, Wide>(gate, gate + cols, column, cols, held[group]);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) most = fmaxf(most, fabsf(held[group][i]));
  }
  for (std::int32_t column = first + kGroups * step; column < cols; column += step) {
    float values[kColumns];
    silu_mul_columns<T, Wide>(gate, gate + cols, column, cols, values);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) most = fmaxf(most, fabsf(values[i]));
  }

  const float scale = e4m3_scale(block_reduce<Max>(most, largest));
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
  const float divide = 1.0F / scale;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const std::int32_t column = first + group * step;
    if (column >= cols) continue;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) held[group][i] *= divide;
    store_columns<Wide>(to, column, cols, held[group]);
  }
  for (std::int32_t column = first + kGroups * step; column < cols; column += step) {
    float values[kColumns];
    silu_mul_columns<T, Wide>(gate, gate + cols, column, cols, values);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) values[i] *= divide;
    store_columns<Wide>(to, column, cols, values);
  }
}

}  // namespace

cudaError_t silu_mul(const ConstRows& gate_up, const Rows& y, float* scales, cudaStream_t stream) {
  const bool quantise = y.element == Element::e4m3;
  if (gate_up.rows != y.rows || gate_up.cols != 2 * y.cols || (quantise && scales == nullptr) ||
      (!quantise && y.element != gate_up.element))
    return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  return with_activation(gate_up.element, [&](auto element) {
    using T = typename decltype(element)::type;
    // y.cols is whole groups, so `up` begins at one.
    return with_bool(is_wide(gate_up, kPerLoad<T>) && is_wide(y, kPerLoad<T>), [&](auto wide) {
      constexpr bool kWide = decltype(wide)::value;
      if (!quantise)
        return launch(silu_mul_kernel<T, kWide>, element_wise_grid(y.rows, y.cols, kPerLoad<T>),
                      kElementWiseThreads, 0, stream, row_data<T>(gate_up), gate_up.stride, row_data<T>(y),
                      y.stride, y.cols);
      const std::int32_t threads =
          std::min(kQuantiseThreads, divide_up(divide_up(y.cols, kPerLoad<T>), 32) * 32);
      return launch(silu_mul_quantise_kernel<T, kWide>, static_cast<unsigned>(y.rows),
                    static_cast<unsigned>(threads), 0, stream, row_data<T>(gate_up), gate_up.stride,
                    row_data<e4m3>(y), y.stride, scales, y.cols);
    });
  });
}

}  // namespace baton::cuda
