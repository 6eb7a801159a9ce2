// add: x += y.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

template <class T, bool Wide>
__global__ void __launch_bounds__(kElementWiseThreads)
    add_kernel(T* x, std::int64_t x_stride, const T* y, std::int64_t y_stride, std::int32_t cols) {
  constexpr int kColumns = kPerLoad<T>;
  let_next_start();
  wait_for_previous();
  T* to = x + blockIdx.x * x_stride;
  const T* from = y + blockIdx.x * y_stride;
  const auto step = static_cast<std::int32_t>(gridDim.y) * kElementWiseThreads * kColumns;
  const auto first = static_cast<std::int32_t>(blockIdx.y * kElementWiseThreads + threadIdx.x) * kColumns;
  for (std::int32_t column = first; column < cols; column += step) {
    float sum[kColumns], term[kColumns];
    load_columns<Wide>(to, column, cols, sum);
    load_columns<Wide>(from, column, cols, term);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) sum[i] += term[i];
    store_columns<Wide>(to, column, cols, sum);
  }
}

}  // namespace

cudaError_t add(const Rows& x, const ConstRows& y, cudaStream_t stream) {
  if (x.element != y.element || x.rows != y.rows || x.cols != y.cols) return cudaErrorInvalidValue;
  if (x.rows == 0 || x.cols == 0) return cudaSuccess;
  return with_activation(x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    return with_bool(is_wide(x, kPerLoad<T>) && is_wide(y, kPerLoad<T>), [&](auto wide) {
      return launch(add_kernel<T, decltype(wide)::value>, element_wise_grid(x.rows, x.cols, kPerLoad<T>),
                    kElementWiseThreads, 0, stream, row_data<T>(x), x.stride, row_data<T>(y), y.stride,
                    x.cols);
    });
  });
}

}  // namespace baton::cuda
