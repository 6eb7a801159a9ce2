// Matrix products y[rows, out] = x[rows, in] W^T (+ bias) on weights [out, in], both row-major. Every product
// here is row-invariant: a row's bits depend on that row and the weight alone, not on how many rows there are
// or on its index.
//
// matmul_skinny is for decode (up to 64 rows at a time): it streams the weight once and starts to do so
// before the kernel ahead of it has ended, so weight, scale and bias must have been complete before that
// kernel was launched. matmul_generic takes any shape and is slow.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element.hpp"
#include "kernels/cuda/gate.hpp"

namespace baton::cuda {

struct MatmulArguments {
  const void* x = nullptr;  // [rows, in]
  std::int64_t x_stride = 0;
  const void* weight = nullptr;  // [out, in], contiguous
  const float* scale = nullptr;  // [out], with an e4m3 weight: y = scale * sum(x w) (+ bias)
  const void* bias = nullptr;    // [out], of the activation's type, or none
  void* y = nullptr;             // [rows, out], or [rows, out / 2] with a gate
  std::int64_t y_stride = 0;
  std::int32_t rows = 0;
  std::int32_t out = 0;  // rows of the weight
  std::int32_t in = 0;
  Element activation = Element::bf16;
  Element weight_type = Element::bf16;  // activation, or e4m3; with f32 activations any
  Element result = Element::bf16;       // activation, or f32
  Gate gate = Gate::none;  // or the weight has gate rows, then as many up rows; neither is rounded before
  // For benchmarks; as they stand here, they mean by the shape.
  std::int32_t splits = 0;  // blocks that share a tile's K: 1, 2 or 4 (matmul_few: outputs of a warp, 1 or
                            // 2); another number is another rounding
  std::int32_t lead = 6;    // KiB of weight that a warp has still to ask for when the next kernel may start
  bool small_ring = false;  // fewer bytes in flight, as where shared memory is small
};

// Whether matmul_skinny has a fast path: two-byte activations, 16-byte alignment of x, its rows and the
// weight's.
bool skinny_takes(const MatmulArguments& arguments);

// Falls back to matmul_generic where there is no fast path. Any number of rows, 64 at a time.
cudaError_t matmul_skinny(const MatmulArguments& arguments, cudaStream_t stream);

// Up to kMostFewRows rows by dot products, faster than matmul_skinny and summed in another order. Two-byte
// weights of the activation's type, `in` a multiple of 256, 16-byte alignment; cudaErrorInvalidValue for
// anything else.
inline constexpr std::int32_t kMostFewRows = 2;
bool few_takes(const MatmulArguments& arguments);
cudaError_t matmul_few(const MatmulArguments& arguments, cudaStream_t stream);

// Up to kMostWarpgroupRows rows by sm_90a's tensor cores and copy engine. Two-byte weights of the
// activation's type, 16-byte alignment of x, its rows and the weight's; cudaErrorInvalidValue for anything
// else and on other devices.
inline constexpr std::int32_t kMostWarpgroupRows = 64;
bool warpgroup_takes(const MatmulArguments& arguments);
cudaError_t matmul_warpgroup(const MatmulArguments& arguments, cudaStream_t stream);

// f32 accumulation in the order of K; exact products. cudaErrorInvalidValue for combinations of types not
// listed.
cudaError_t matmul_generic(const MatmulArguments& arguments, cudaStream_t stream);

}  // namespace baton::cuda
