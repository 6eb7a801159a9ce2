// To e4m3: find the largest magnitude, divide by it. A row fits in L1 or L2, so reading it twice costs
// little.
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantize.hpp"

namespace baton::cuda {
namespace {

constexpr int kThreads = 256;
constexpr float kLargest = 448.0F;
constexpr float kNothing = 1e-30F;  // magnitudes whose inverse would not be a number

__device__ __forceinline__ float scale_of(float largest) {
  return largest > kNothing ? largest / kLargest : 1.0F;
}
__device__ __forceinline__ float inverse_of(float largest) {
  return largest > kNothing ? kLargest / largest : 0.0F;
}

// The block's largest value, in every thread.
__device__ __forceinline__ float block_max(float value) {
  __shared__ float warps[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(~0U, value, offset));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  value = warps[threadIdx.x % (kThreads / 32)];
  for (int offset = kThreads / 64; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0U, value, offset));
  }
  return value;
}

template <class T>
struct Row {
  const T* x;
  e4m3* q;
  int cols;
  bool aligned;  // for packs of eight

  __device__ Row(const QuantizeArguments& a, int row)
      : x(static_cast<const T*>(a.x) + row * a.x_stride),
        q(static_cast<e4m3*>(a.q) + row * a.q_stride),
        cols(a.cols),
        aligned(reinterpret_cast<std::uintptr_t>(x) % sizeof(Pack<T, 8>) == 0 &&
                reinterpret_cast<std::uintptr_t>(q) % 8 == 0) {}

  __device__ float largest() const {
    float largest = 0.0F;
    const int packed = aligned ? cols / 8 * 8 : 0;
    for (int col = static_cast<int>(threadIdx.x) * 8; col < packed; col += kThreads * 8) {
      const auto pack = *reinterpret_cast<const Pack<T, 8>*>(x + col);
#pragma unroll
      for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(to_float(pack.at[i])));
    }
    for (int col = packed + static_cast<int>(threadIdx.x); col < cols; col += kThreads) {
      largest = fmaxf(largest, fabsf(to_float(x[col])));
    }
    return largest;
  }

  __device__ void write(float inverse) const {
    const int packed = aligned ? cols / 8 * 8 : 0;
    for (int col = static_cast<int>(threadIdx.x) * 8; col < packed; col += kThreads * 8) {
      const auto pack = *reinterpret_cast<const Pack<T, 8>*>(x + col);
      Pack<e4m3, 8> codes;
#pragma unroll
      for (int i = 0; i < 8; ++i) codes.at[i] = from_float<e4m3>(to_float(pack.at[i]) * inverse);
      *reinterpret_cast<Pack<e4m3, 8>*>(q + col) = codes;
    }
    for (int col = packed + static_cast<int>(threadIdx.x); col < cols; col += kThreads) {
      q[col] = from_float<e4m3>(to_float(x[col]) * inverse);
    }
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) rows_kernel(const __grid_constant__ QuantizeArguments a) {
  let_next_start();
  wait_for_previous();
  const Row<T> row(a, static_cast<int>(blockIdx.x));
  const float largest = block_max(row.largest());
  if (threadIdx.x == 0) a.scale[blockIdx.x] = scale_of(largest);
  row.write(inverse_of(largest));
}

__global__ void clear_kernel(float* scale) {
  let_next_start();
  wait_for_previous();
  *scale = 0.0F;
}

// a.scale collects the largest magnitude: of numbers that are not negative, the order of the bits is theirs.
template <class T>
__global__ void __launch_bounds__(kThreads) largest_kernel(const __grid_constant__ QuantizeArguments a) {
  let_next_start();
  wait_for_previous();
  const float largest = block_max(Row<T>(a, static_cast<int>(blockIdx.x)).largest());
  if (threadIdx.x == 0) atomicMax(reinterpret_cast<int*>(a.scale), __float_as_int(largest));
}

template <class T>
__global__ void __launch_bounds__(kThreads) tensor_kernel(const __grid_constant__ QuantizeArguments a) {
  let_next_start();
  wait_for_previous();
  Row<T>(a, static_cast<int>(blockIdx.x)).write(inverse_of(*a.scale));
}

__global__ void scale_kernel(float* scale) {
  let_next_start();
  wait_for_previous();
  *scale = scale_of(*scale);
}

template <class T>
cudaError_t launch_tensor(const QuantizeArguments& a, cudaStream_t stream) {
  const dim3 rows(static_cast<unsigned>(a.rows));
  cudaError_t error = launch(clear_kernel, dim3(1), dim3(1), 0, stream, a.scale);
  if (error == cudaSuccess) error = launch(largest_kernel<T>, rows, dim3(kThreads), 0, stream, a);
  if (error == cudaSuccess) error = launch(tensor_kernel<T>, rows, dim3(kThreads), 0, stream, a);
  if (error == cudaSuccess) error = launch(scale_kernel, dim3(1), dim3(1), 0, stream, a.scale);
  return error;
}

}  // namespace

cudaError_t quantize_rows(const QuantizeArguments& a, cudaStream_t stream) {
  if (a.rows <= 0) return cudaSuccess;
  const dim3 rows(static_cast<unsigned>(a.rows));
  switch (a.type) {
    case Element::f32:
      return launch(rows_kernel<float>, rows, dim3(kThreads), 0, stream, a);
    case Element::f16:
      return launch(rows_kernel<f16>, rows, dim3(kThreads), 0, stream, a);
    case Element::bf16:
      return launch(rows_kernel<bf16>, rows, dim3(kThreads), 0, stream, a);
    case Element::e4m3:
      break;
  }
  return cudaErrorInvalidValue;
}

cudaError_t quantize_tensor(const QuantizeArguments& a, cudaStream_t stream) {
  if (a.rows <= 0) return cudaSuccess;
  switch (a.type) {
    case Element::f32:
      return launch_tensor<float>(a, stream);
    case Element::f16:
      return launch_tensor<f16>(a, stream);
    case Element::bf16:
      return launch_tensor<bf16>(a, stream);
    case Element::e4m3:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace baton::cuda
