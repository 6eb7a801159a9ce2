// The product for any shape, stride and alignment, and the exact one for f32 activations. Every output is one
// chain of fused multiply-adds in the order of K, whatever the number of rows.
//
// A block makes 16 or 64 rows by 64 outputs from tiles of 16 K in shared memory; a thread 1 or 4 rows by 4
// outputs.
#include <type_traits>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"

namespace baton::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 64;
constexpr int kIn = 16;

struct Parameters {
  const void* x;
  const void* weight;
  const float* scale;
  const void* bias;
  void* y;
  std::int64_t x_stride;
  std::int64_t y_stride;
  int rows;
  int out;
  int in;
  Gate gate;
  bool result_f32;

  __device__ __forceinline__ bool has_gate() const { return gate != Gate::none; }
};

// The weight's row behind local output `local`, or -1: with a gate it and its up take turns.
__device__ __forceinline__ int weight_row(const Parameters& p, int local) {
  if (!p.has_gate()) {
    const int row = static_cast<int>(blockIdx.x) * kOutputs + local;
    return row < p.out ? row : -1;
  }
  const int half = p.out / 2;
  const int row = static_cast<int>(blockIdx.x) * (kOutputs / 2) + local / 2;
  return row < half ? row + local % 2 * half : -1;
}

// Four of `Count` * 16 values of one tile: [16 K][rows], thread i has K i % 16 of rows i / 16 + 16 j.
template <class E, int kCount, class Row>
__device__ __forceinline__ void read_tile(float (&value)[kCount], const void* from, std::int64_t stride,
                                          int k, int in, Row row_of) {
  const int at = k + static_cast<int>(threadIdx.x) % kIn;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const int row = row_of(static_cast<int>(threadIdx.x) / kIn + 16 * j);
    value[j] = row >= 0 && at < in ? to_float(static_cast<const E*>(from)[row * stride + at]) : 0.0F;
  }
}

template <int kCount, int kPitch>
__device__ __forceinline__ void keep_tile(float (&tile)[kIn][kPitch], const float (&value)[kCount]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) tile[threadIdx.x % kIn][threadIdx.x / kIn + 16 * j] = value[j];
}

template <class T>
__device__ __forceinline__ void write(const Parameters& p, int row, int column, float value) {
  const std::int64_t at = row * p.y_stride + column;
  if (p.result_f32) {
    static_cast<float*>(p.y)[at] = value;
  } else {
    static_cast<T*>(p.y)[at] = from_float<T>(value);
  }
}

// Four neighbouring local outputs of one row.
template <class T>
__device__ __forceinline__ void finish(const Parameters& p, int row, int local, const float (&sum)[4]) {
  float value[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int output = weight_row(p, local + i);
    value[i] = sum[i];
    if (output < 0) continue;
    if (p.scale != nullptr) value[i] = __fmul_rn(value[i], p.scale[output]);
    if (p.bias != nullptr) value[i] = __fadd_rn(value[i], to_float(static_cast<const T*>(p.bias)[output]));
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int output = weight_row(p, local + i);
    if (output < 0) continue;
    if (!p.has_gate()) {
      write<T>(p, row, output, value[i]);
    } else if (i % 2 == 0) {
      write<T>(p, row, output, gated<Exact>(p.gate, value[i], value[i + 1]));
    }
  }
}

template <class T, class W, int kPerThread>
__global__ void __launch_bounds__(kThreads) generic_kernel(const __grid_constant__ Parameters p) {
  constexpr int kRows = 16 * kPerThread;
  __shared__ __align__(16) float x_tile[kIn][kRows + 4];
  __shared__ __align__(16) float weight_tile[kIn][kOutputs + 4];
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const auto x_row = [&](int local) { return first_row + local < p.rows ? first_row + local : -1; };
  const auto w_row = [&](int local) { return weight_row(p, local); };
  const int output = static_cast<int>(threadIdx.x) % 16 * 4;
  const int row = static_cast<int>(threadIdx.x) / 16 * kPerThread;

  let_next_start();
  wait_for_previous();
  float x_next[kPerThread];
  float weight_next[4];
  float sum[kPerThread][4] = {};
  read_tile<T>(x_next, p.x, p.x_stride, 0, p.in, x_row);
  read_tile<W>(weight_next, p.weight, p.in, 0, p.in, w_row);
  for (int k = 0; k < p.in; k += kIn) {
    keep_tile(x_tile, x_next);
    keep_tile(weight_tile, weight_next);
    __syncthreads();
    read_tile<T>(x_next, p.x, p.x_stride, k + kIn, p.in, x_row);
    read_tile<W>(weight_next, p.weight, p.in, k + kIn, p.in, w_row);
#pragma unroll
    for (int i = 0; i < kIn; ++i) {
      const float4 w = *reinterpret_cast<const float4*>(&weight_tile[i][output]);
#pragma unroll
      for (int r = 0; r < kPerThread; ++r) {
        const float x = x_tile[i][row + r];
        sum[r][0] = fmaf(x, w.x, sum[r][0]);
        sum[r][1] = fmaf(x, w.y, sum[r][1]);
        sum[r][2] = fmaf(x, w.z, sum[r][2]);
        sum[r][3] = fmaf(x, w.w, sum[r][3]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < kPerThread; ++r) {
    if (first_row + row + r < p.rows) finish<T>(p, first_row + row + r, output, sum[r]);
  }
}

template <class T, class W>
cudaError_t launch_generic(const MatmulArguments& a, cudaStream_t stream) {
  const Parameters parameters{.x = a.x,
                              .weight = a.weight,
                              .scale = std::is_same_v<W, e4m3> ? a.scale : nullptr,
                              .bias = a.bias,
                              .y = a.y,
                              .x_stride = a.x_stride,
                              .y_stride = a.y_stride,
                              .rows = a.rows,
                              .out = a.out,
                              .in = a.in,
                              .gate = a.gate,
                              .result_f32 = a.result == Element::f32};
  const unsigned columns =
      (static_cast<unsigned>(a.out) + kOutputs - 1) / kOutputs;  // gates: pairs are no more
  if (a.rows <= 16)
    return launch(generic_kernel<T, W, 1>, dim3(columns), dim3(kThreads), 0, stream, parameters);
  const unsigned rows = (static_cast<unsigned>(a.rows) + 63) / 64;
  return launch(generic_kernel<T, W, 4>, dim3(columns, rows), dim3(kThreads), 0, stream, parameters);
}

}  // namespace

cudaError_t matmul_generic(const MatmulArguments& a, cudaStream_t stream) {
  if (a.rows <= 0 || a.out <= 0) return cudaSuccess;
  if (a.result != a.activation && a.result != Element::f32) return cudaErrorInvalidValue;
  const Element weight = a.weight_type;
  switch (a.activation) {
    case Element::f32:
      if (weight == Element::f32) return launch_generic<float, float>(a, stream);
      if (weight == Element::f16) return launch_generic<float, f16>(a, stream);
      if (weight == Element::bf16) return launch_generic<float, bf16>(a, stream);
      return launch_generic<float, e4m3>(a, stream);
    case Element::f16:
      if (weight == Element::f16) return launch_generic<f16, f16>(a, stream);
      if (weight == Element::e4m3) return launch_generic<f16, e4m3>(a, stream);
      return cudaErrorInvalidValue;
    case Element::bf16:
      if (weight == Element::bf16) return launch_generic<bf16, bf16>(a, stream);
      if (weight == Element::e4m3) return launch_generic<bf16, e4m3>(a, stream);
      return cudaErrorInvalidValue;
    case Element::e4m3:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace baton::cuda
