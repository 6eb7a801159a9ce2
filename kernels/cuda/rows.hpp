// Operations on rows of activations: [rows, cols] in device memory, any stride, any column count. Activations
// are f32, f16 or bf16; sums and statistics are f32. A row's result depends on that row alone, in one order
// of summation that follows from cols and the element, whatever the number of rows, the stride or the
// alignment. Rows and pointers that are multiples of 16 bytes are read and written 16 bytes at a time; others
// are slower, not different.
//
// cudaErrorInvalidValue: elements or sizes that an operation does not take. No rows: nothing is launched.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element.hpp"
#include "kernels/cuda/gate.hpp"

namespace baton::cuda {

struct ConstRows {
  const void* data = nullptr;
  std::int64_t stride = 0;  // elements from one row to the next
  std::int32_t rows = 0;
  std::int32_t cols = 0;
  Element element = Element::bf16;
};

struct Rows {
  void* data = nullptr;
  std::int64_t stride = 0;  // elements from one row to the next
  std::int32_t rows = 0;
  std::int32_t cols = 0;
  Element element = Element::bf16;

  operator ConstRows() const { return {data, stride, rows, cols, element}; }
};

// y[r] = table[tokens[r]], converted; tokens [y.rows] on the device; a negative token gives zeros.
cudaError_t embed(const ConstRows& table, const std::int32_t* tokens, const Rows& y, cudaStream_t stream);

// y[r] = x[index[r]], the same bits; index [y.rows] on the device; a negative index gives zeros.
cudaError_t gather(const ConstRows& x, const std::int32_t* index, const Rows& y, cudaStream_t stream);

// x += y, rounded once; x and y have the same element.
cudaError_t add(const Rows& x, const ConstRows& y, cudaStream_t stream);

// y = x as f32.
cudaError_t to_float(const ConstRows& x, const Rows& y, cudaStream_t stream);

inline constexpr std::int32_t kMaxNormCols = 16384;

// y = x / sqrt(mean(x^2) + epsilon) * weight; weight [cols] f32. y has x's element, or e4m3: then y is
// divided by scales[row] = (largest |y| of the row) / 448, or 1 for a row of zeros, which is written too
// (`scales` [rows], else null). y may be x. cols <= kMaxNormCols.
cudaError_t rms_norm(const ConstRows& x, const float* weight, float epsilon, const Rows& y, float* scales,
                     cudaStream_t stream);

// x += factor * added, rounded once to x's element, then y = rms_norm(x): with a factor of 1 the same bits as
// add followed by rms_norm.
cudaError_t add_rms_norm(const Rows& x, const ConstRows& added, float factor, const float* weight,
                         float epsilon, const Rows& y, float* scales, cudaStream_t stream);

// y = what `gate`, not Gate::none, makes of gate_up = [gate | up], [rows, 2 * y.cols]. y has the element of
// gate_up, or e4m3 with `scales` as for rms_norm.
cudaError_t gate_mul(Gate gate, const ConstRows& gate_up, const Rows& y, float* scales, cudaStream_t stream);

}  // namespace baton::cuda
