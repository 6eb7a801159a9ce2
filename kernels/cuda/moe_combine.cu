// moe_combine: the weighted sum over a row's experts, in the order of its choices.
#include "kernels/cuda/moe.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

template <class T, bool Wide>
__global__ void __launch_bounds__(kElementWiseThreads) moe_combine_kernel(const MoeCombine args) {
  constexpr int kColumns = kPerLoad<T>;
  let_next_start();
  wait_for_previous();
  const std::int64_t row = blockIdx.x;
  const std::int32_t cols = args.y.cols;
  T* to = static_cast<T*>(args.y.data) + row * args.y.stride;
  const std::int32_t* slots = args.slot_of + row * args.choices;
  const float* weights = args.weights + row * args.choices;
  const auto step = static_cast<std::int32_t>(gridDim.y) * kElementWiseThreads * kColumns;
  const auto first = static_cast<std::int32_t>(blockIdx.y * kElementWiseThreads + threadIdx.x) * kColumns;
  for (std::int32_t column = first; column < cols; column += step) {
    float sum[kColumns] = {};
    if (args.accumulate) load_columns<Wide>(to, column, cols, sum);
#pragma unroll 4
    for (std::int32_t k = 0; k < args.choices; ++k) {
      const std::int64_t slot = slots[k];
      if (slot < 0) continue;
      float term[kColumns];
      load_columns<Wide>(static_cast<const T*>(args.x.data) + slot * args.x.stride, column, cols, term);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) sum[i] = fmaf(weights[k], term[i], sum[i]);
    }
    store_columns<Wide>(to, column, cols, sum);
  }
}

}  // namespace

cudaError_t moe_combine(const MoeCombine& args, cudaStream_t stream) {
  if (args.x.element != args.y.element || args.x.cols != args.y.cols) return cudaErrorInvalidValue;
  if (args.y.rows == 0 || args.y.cols == 0) return cudaSuccess;
  return with_activation(args.y.element, [&](auto element) {
    using T = typename decltype(element)::type;
    return with_bool(is_wide(args.x, kPerLoad<T>) && is_wide(args.y, kPerLoad<T>), [&](auto wide) {
      return launch(moe_combine_kernel<T, decltype(wide)::value>,
                    element_wise_grid(args.y.rows, args.y.cols, kPerLoad<T>), kElementWiseThreads, 0, stream,
                    args);
    });
  });
}

}  // namespace baton::cuda
