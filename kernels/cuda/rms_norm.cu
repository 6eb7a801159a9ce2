// rms_norm, alone or after an addition, to activations or to e4m3. A block takes whole rows and keeps them in
// registers, so memory is read and written once. How many threads share a row follows from cols alone: one
// order of summation for any number of rows.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr std::int32_t kMaxThreads = 512;

template <class T, class Out>
struct RmsNormArgs {
  T* x;
  std::int64_t x_stride;
  const T* added;  // or null
  std::int64_t added_stride;
  float factor;
  const float* weight;
  Out* y;
  std::int64_t y_stride;
  float* scales;
  std::int32_t rows;
  std::int32_t cols;
  float epsilon;
  float inverse_cols;
};

// PerThread columns each, in groups of one load.
template <class T, class Out, int PerThread, bool Wide>
__global__ void __launch_bounds__(kMaxThreads) rms_norm_kernel(const RmsNormArgs<T, Out> args) {
  constexpr int kColumns = kPerLoad<T>;
  constexpr int kGroups = PerThread / kColumns;
  constexpr bool kQuantise = std::is_same_v<Out, e4m3>;
  constexpr bool kHoldWeights = PerThread <= 16;  // else registers run out: they are read again, from L1
  __shared__ float sums[2][32];
  __shared__ float largest[2][32];

  const auto column_of = [](int group) {
    return static_cast<std::int32_t>(group * blockDim.x + threadIdx.x) * kColumns;
  };
  const auto load_weights = [&](int group, float(&weight)[kColumns]) {
    const std::int32_t column = column_of(group);
    if (column < args.cols) load_columns<Wide>(args.weight, column, args.cols, weight);
  };

  let_next_start();
  float held[kHoldWeights ? kGroups : 1][kColumns] = {};
  if constexpr (kHoldWeights) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group) load_weights(group, held[group]);
  }
  wait_for_previous();

  int parity = 0;
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x, parity ^= 1) {
    T* x = args.x + row * args.x_stride;
    float values[kGroups][kColumns] = {};
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const std::int32_t column = column_of(group);
      if (column < args.cols) load_columns<Wide>(x, column, args.cols, values[group]);
    }
    if (args.added) {
      const T* added = args.added + row * args.added_stride;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const std::int32_t column = column_of(group);
        if (column >= args.cols) continue;
        float term[kColumns];
        load_columns<Wide>(added, column, args.cols, term);
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
          values[group][i] = to_float(from_float<T>(fmaf(args.factor, term[i], values[group][i])));
        store_columns<Wide>(x, column, args.cols, values[group]);
      }
    }

    float squares = 0.0F;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) squares = fmaf(values[group][i], values[group][i], squares);
    }
    const float inverse =
        rsqrtf(fmaf(block_reduce<Sum>(squares, sums[parity]), args.inverse_cols, args.epsilon));

#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      float weight[kColumns] = {};
      if constexpr (!kHoldWeights) load_weights(group, weight);
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        values[group][i] =
            values[group][i] * inverse * (kHoldWeights ? held[kHoldWeights ? group : 0][i] : weight[i]);
    }

    float divide = 1.0F;
    if constexpr (kQuantise) {
      float most = 0.0F;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) most = fmaxf(most, fabsf(values[group][i]));
      }
      const float scale = e4m3_scale(block_reduce<Max>(most, largest[parity]));
      if (threadIdx.x == 0) args.scales[row] = scale;
      divide = 1.0F / scale;
    }

    Out* y = args.y + row * args.y_stride;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const std::int32_t column = column_of(group);
      if (column >= args.cols) continue;
      if constexpr (kQuantise) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) values[group][i] *= divide;
      }
      store_columns<Wide>(y, column, args.cols, values[group]);
    }
  }
}

template <class T, class Out>
cudaError_t run(const RmsNormArgs<T, Out>& args, bool wide, cudaStream_t stream) {
  return with_bool(wide, [&](auto is_wide) {
    constexpr bool kWide = decltype(is_wide)::value;
    return with_bool(args.cols <= kMaxThreads * 16, [&](auto is_short) {
      constexpr int kPerThread = decltype(is_short)::value ? 16 : 32;
      const std::int32_t threads = divide_up(divide_up(args.cols, kPerThread), 32) * 32;
      const std::int32_t blocks = std::min(args.rows, multiprocessors() * std::max(1, 1024 / threads));
      return launch(rms_norm_kernel<T, Out, kPerThread, kWide>, static_cast<unsigned>(blocks),
                    static_cast<unsigned>(threads), 0, stream, args);
    });
  });
}

// `x` is written only where something is added.
cudaError_t add_and_norm(const Rows& x, const ConstRows* added, float factor, const float* weight, float epsilon,
                         const Rows& y, float* scales, cudaStream_t stream) {
  const bool quantise = y.element == Element::e4m3;
  if (x.cols != y.cols || x.rows != y.rows || x.cols > kMaxNormCols || (quantise && scales == nullptr) ||
      (!quantise && y.element != x.element) ||
      (added && (added->rows != x.rows || added->cols != x.cols || added->element != x.element)))
    return cudaErrorInvalidValue;
  if (x.rows == 0 || x.cols == 0) return cudaSuccess;
  return with_activation(x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    const ConstRows weights{weight, x.cols, 1, x.cols, Element::f32};
    const bool wide = is_wide(x, kPerLoad<T>) && is_wide(y, kPerLoad<T>) && is_wide(weights, kPerLoad<T>) &&
                      (!added || is_wide(*added, kPerLoad<T>));
    return with_bool(quantise, [&](auto is_quantised) {
      using Out = std::conditional_t<decltype(is_quantised)::value, e4m3, T>;
      return run(RmsNormArgs<T, Out>{row_data<T>(x), x.stride, added ? row_data<T>(*added) : nullptr,
                                     added ? added->stride : 0, factor, weight, row_data<Out>(y), y.stride, scales,
                                     x.rows, x.cols, epsilon, 1.0F / static_cast<float>(x.cols)},
                 wide, stream);
    });
  });
}

}  // namespace

cudaError_t rms_norm(const ConstRows& x, const float* weight, float epsilon, const Rows& y, float* scales,
                     cudaStream_t stream) {
  const Rows unchanged{const_cast<void*>(x.data), x.stride, x.rows, x.cols, x.element};
  return add_and_norm(unchanged, nullptr, 1.0F, weight, epsilon, y, scales, stream);
}

cudaError_t add_rms_norm(const Rows& x, const ConstRows& added, float factor, const float* weight, float epsilon,
                         const Rows& y, float* scales, cudaStream_t stream) {
  return add_and_norm(x, &added, factor, weight, epsilon, y, scales, stream);
}

}  // namespace baton::cuda
