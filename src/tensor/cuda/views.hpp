// What the kernels call the things that Ops is handed.
#pragma once

#include <cassert>

#include "baton/tensor/ops.hpp"
#include "kernels/cuda/rows.hpp"
#include "linear.hpp"

namespace baton {

inline const CudaMatrix& matrix_of(const Linear& weight) {
  assert(dynamic_cast<const CudaMatrix*>(&weight.body()) != nullptr);
  return static_cast<const CudaMatrix&>(weight.body());
}

inline const CudaVector& vector_of(const Linear& weight) {
  assert(dynamic_cast<const CudaVector*>(&weight.body()) != nullptr);
  return static_cast<const CudaVector&>(weight.body());
}

static_assert(cuda::kClampedLimit == kClampedSiluLimit && cuda::kClampedSlope == kClampedSiluSlope);
inline cuda::Gate gate_of(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return cuda::Gate::silu;
    case Activation::gelu:
      return cuda::Gate::gelu;
    case Activation::clamped_silu:
      break;
  }
  return cuda::Gate::clamped_silu;
}

inline cuda::Rows rows_of(const Tensor& x) {
  return {x.data, x.stride, static_cast<std::int32_t>(x.rows), static_cast<std::int32_t>(x.cols),
          element_on_gpu(x.dtype)};
}

// Rows of e4m3 that one operation makes for the next have a scale each, [rows], behind the last row: a
// product multiplies its sums with them. Columns are a multiple of 16.
inline std::size_t bytes_of_codes(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols) + static_cast<std::size_t>(rows) * sizeof(float);
}
inline float* scales_of(const Tensor& codes) {
  return reinterpret_cast<float*>(static_cast<std::byte*>(codes.data) + codes.rows * codes.stride);
}

}  // namespace baton
