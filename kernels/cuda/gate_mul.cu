// gate_mul: what a gate makes of what passes it, to activations or to e4m3 with one scale a row.
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr std::int32_t kQuantiseThreads = 512;
constexpr std::int32_t kHeldColumns = 32;  // a thread's, kept between finding the scale and applying it

template <class G, class T, bool Wide>
__device__ __forceinline__ void gate_columns(const T* gate, const T* up, std::int32_t column,
                                             std::int32_t cols, float (&values)[kPerLoad<T>]) {
  using Arithmetic = std::conditional_t<std::is_same_v<T, float>, Exact, Fast>;
  float factor[kPerLoad<T>];
  load_columns<Wide>(gate, column, cols, values);
  load_columns<Wide>(up, column, cols, factor);
#pragma unroll
  for (int i = 0; i < kPerLoad<T>; ++i) values[i] = Arithmetic::product(G::of(values[i], factor[i]));
}

template <class G, class T, bool Wide>
__global__ void __launch_bounds__(kElementWiseThreads)
    gate_mul_kernel(const T* __restrict__ gate_up, std::int64_t x_stride, T* __restrict__ y,
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
    gate_columns<G, T, Wide>(gate, gate + cols, column, cols, values);
    store_columns<Wide>(to, column, cols, values);
  }
}

// A block a row. What does not fit into registers is computed twice.
template <class G, class T, bool Wide>
__global__ void __launch_bounds__(kQuantiseThreads)
    gate_mul_quantise_kernel(const T* __restrict__ gate_up, std::int64_t x_stride, e4m3* __restrict__ y,
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
    if (column < cols) gate_columns<G, T, Wide>(gate, gate + cols, column, cols, held[group]);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) most = fmaxf(most, fabsf(held[group][i]));
  }
  for (std::int32_t column = first + kGroups * step; column < cols; column += step) {
    float values[kColumns];
    gate_columns<G, T, Wide>(gate, gate + cols, column, cols, values);
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
    gate_columns<G, T, Wide>(gate, gate + cols, column, cols, values);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) values[i] *= divide;
    store_columns<Wide>(to, column, cols, values);
  }
}

template <class G>
cudaError_t gate_rows(const ConstRows& gate_up, const Rows& y, float* scales, cudaStream_t stream) {
  return with_activation(gate_up.element, [&](auto element) {
    using T = typename decltype(element)::type;
    // y.cols is whole groups, so `up` begins at one.
    return with_bool(is_wide(gate_up, kPerLoad<T>) && is_wide(y, kPerLoad<T>), [&](auto wide) {
      constexpr bool kWide = decltype(wide)::value;
      if (y.element != Element::e4m3)
        return launch(gate_mul_kernel<G, T, kWide>, element_wise_grid(y.rows, y.cols, kPerLoad<T>),
                      kElementWiseThreads, 0, stream, row_data<T>(gate_up), gate_up.stride, row_data<T>(y),
                      y.stride, y.cols);
      const std::int32_t threads =
          std::min(kQuantiseThreads, divide_up(divide_up(y.cols, kPerLoad<T>), 32) * 32);
      return launch(gate_mul_quantise_kernel<G, T, kWide>, static_cast<unsigned>(y.rows),
                    static_cast<unsigned>(threads), 0, stream, row_data<T>(gate_up), gate_up.stride,
                    row_data<e4m3>(y), y.stride, scales, y.cols);
    });
  });
}

}  // namespace

cudaError_t gate_mul(Gate gate, const ConstRows& gate_up, const Rows& y, float* scales, cudaStream_t stream) {
  const bool quantise = y.element == Element::e4m3;
  if (gate_up.rows != y.rows || gate_up.cols != 2 * y.cols || (quantise && scales == nullptr) ||
      (!quantise && y.element != gate_up.element))
    return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  switch (gate) {
    case Gate::silu:
      return gate_rows<Silu>(gate_up, y, scales, stream);
    case Gate::gelu:
      return gate_rows<Gelu>(gate_up, y, scales, stream);
    case Gate::clamped_silu:
      return gate_rows<ClampedSilu>(gate_up, y, scales, stream);
    case Gate::none:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace baton::cuda
