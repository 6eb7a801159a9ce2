// matmul_few: one or two rows by dot products. A warp makes two outputs (gate and up of one column
// with a gate); a lane holds eight columns of every 256. Nothing is staged: a weight goes from memory to
// registers, many loads in flight, the first of them before the kernel ahead has ended. So that the blocks of
// two products in a row share the machine: while the last blocks of one drain, the first of the next already
// read.
#include <cstdint>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"

namespace baton::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kWarps = 4;
constexpr int kPerLane = 8;               // columns, sixteen bytes
constexpr int kStep = kLanes * kPerLane;  // columns of a warp's load
constexpr std::int32_t kManyOutputs = 16384;

__device__ __forceinline__ uint4 load_weight(const void* at) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(at));
  return value;
}

template <class T>
__device__ __forceinline__ float2 widen(std::uint32_t pair) {
  if constexpr (std::is_same_v<T, bf16>) {
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
  } else {
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
  }
}

template <class T, int Rows>
struct Sums {
  float of[Rows] = {};

  __device__ __forceinline__ void add(const uint4& weight, const float (&x)[Rows][kPerLane]) {
    const std::uint32_t pairs[4] = {weight.x, weight.y, weight.z, weight.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 w = widen<T>(pairs[i]);
#pragma unroll
      for (int row = 0; row < Rows; ++row)
        of[row] = fmaf(w.y, x[row][2 * i + 1], fmaf(w.x, x[row][2 * i], of[row]));
    }
  }
  __device__ __forceinline__ void gather() {
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2) {
#pragma unroll
      for (int row = 0; row < Rows; ++row) of[row] += __shfl_xor_sync(0xFFFFFFFFU, of[row], distance);
    }
  }
};

// Outputs of a warp, and steps of each that it asks for at once.
template <class T, class Result, int Rows, int Outputs, int Unroll>
__global__ void __launch_bounds__(kWarps* kLanes, Rows == 1 && Outputs == 2 ? 8 : 6)
    few_kernel(const MatmulArguments args) {
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::int32_t unit = static_cast<std::int32_t>(blockIdx.x * kWarps + threadIdx.x / kLanes);
  const bool has_gate = args.gate != Gate::none;
  const std::int32_t columns = has_gate ? args.out / 2 : args.out;
  std::int32_t output[Outputs];  // beyond the end: the last one again, which is not stored
#pragma unroll
  for (int o = 0; o < Outputs; ++o)
    output[o] = has_gate ? min(unit, columns - 1) + o * columns : min(Outputs * unit + o, columns - 1);
  const int steps = args.in / kStep;

  uint4 held[Unroll][Outputs];
  const auto fetch = [&](int step) {
#pragma unroll
    for (int i = 0; i < Unroll; ++i) {
#pragma unroll
      for (int o = 0; o < Outputs; ++o) {
        const std::int64_t at =
            static_cast<std::int64_t>(output[o]) * args.in + (step + i) * kStep + lane * kPerLane;
        if (step + i < steps) held[i][o] = load_weight(static_cast<const T*>(args.weight) + at);
      }
    }
  };
  fetch(0);
  wait_for_previous();

  const T* const x = static_cast<const T*>(args.x) + lane * kPerLane;
  Sums<T, Rows> sums[Outputs];
  for (int step = 0; step < steps; step += Unroll) {
    if (step > 0) fetch(step);
#pragma unroll
    for (int i = 0; i < Unroll; ++i) {
      if (step + i >= steps) break;
      float values[Rows][kPerLane];
#pragma unroll
      for (int row = 0; row < Rows; ++row) {
        const std::int32_t from = min(row, args.rows - 1);
        const uint4 packed = *reinterpret_cast<const uint4*>(
            x + static_cast<std::int64_t>(from) * args.x_stride + (step + i) * kStep);
        const std::uint32_t pairs[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 wide = widen<T>(pairs[j]);
          values[row][2 * j] = wide.x;
          values[row][2 * j + 1] = wide.y;
        }
      }
#pragma unroll
      for (int o = 0; o < Outputs; ++o) sums[o].add(held[i][o], values);
    }
  }
#pragma unroll
  for (int o = 0; o < Outputs; ++o) sums[o].gather();

  if (lane != 0) return;
  const auto* const bias = static_cast<const T*>(args.bias);
#pragma unroll
  for (int row = 0; row < Rows; ++row) {
    if (row >= args.rows) break;
    Result* const y = static_cast<Result*>(args.y) + static_cast<std::int64_t>(row) * args.y_stride;
    float value[Outputs];
#pragma unroll
    for (int o = 0; o < Outputs; ++o) value[o] = sums[o].of[row] + (bias ? to_float(bias[output[o]]) : 0.0F);
    if (has_gate) {
      const float passed = gated<FastExponential>(args.gate, value[0], value[Outputs - 1]);
      if (unit < columns) y[unit] = from_float<Result>(passed);
    } else {
#pragma unroll
      for (int o = 0; o < Outputs; ++o)
        if (Outputs * unit + o < columns) y[Outputs * unit + o] = from_float<Result>(value[o]);
    }
  }
}

template <class T, class Result, int Outputs, int Unroll>
cudaError_t run(const MatmulArguments& args, cudaStream_t stream) {
  const std::int32_t units = args.gate != Gate::none ? args.out / 2 : (args.out + Outputs - 1) / Outputs;
  const dim3 grid(static_cast<unsigned>((units + kWarps - 1) / kWarps)), block(kWarps * kLanes);
  if (args.rows == 1) return launch(few_kernel<T, Result, 1, Outputs, Unroll>, grid, block, 0, stream, args);
  return launch(few_kernel<T, Result, 2, Outputs, Unroll>, grid, block, 0, stream, args);
}

// Many outputs: two for each warp, so that x is read half as often. Few: one, with more of its row asked for
// at once.
template <class T, class Result>
cudaError_t run(const MatmulArguments& args, cudaStream_t stream) {
  const bool many = args.splits > 0 ? args.splits == 2 : args.out >= kManyOutputs;
  if (args.gate != Gate::none || many) return run<T, Result, 2, 4>(args, stream);
  if (args.in % (12 * kStep) == 0) return run<T, Result, 1, 12>(args, stream);
  return run<T, Result, 1, 8>(args, stream);
}

template <class T>
cudaError_t run(const MatmulArguments& args, cudaStream_t stream) {
  return args.result == Element::f32 ? run<T, float>(args, stream) : run<T, T>(args, stream);
}

}  // namespace

bool few_takes(const MatmulArguments& args) {
  const auto aligned = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
  return args.rows <= kMostFewRows && args.in % kStep == 0 && args.x_stride % kPerLane == 0 &&
         aligned(args.x) && aligned(args.weight) && args.weight_type == args.activation &&
         size_of(args.activation) == 2 && (args.result == args.activation || args.result == Element::f32);
}

cudaError_t matmul_few(const MatmulArguments& args, cudaStream_t stream) {
  if (!few_takes(args) || args.rows < 0) return cudaErrorInvalidValue;
  if (args.rows == 0 || args.out == 0) return cudaSuccess;
  return args.activation == Element::bf16 ? run<bf16>(args, stream) : run<f16>(args, stream);
}

}  // namespace baton::cuda
