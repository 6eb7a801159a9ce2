// Quantisation to e4m3, value = scale * q with scale = amax / 448, of weights when they are loaded and of
// activations before an FP8 product.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element.hpp"

namespace baton::cuda {

struct QuantizeArguments {
  const void* x = nullptr;       // [rows, cols]
  Element type = Element::bf16;  // f32, f16 or bf16
  std::int64_t x_stride = 0;
  std::int32_t rows = 0;
  std::int32_t cols = 0;
  void* q = nullptr;  // e4m3 [rows, cols]
  std::int64_t q_stride = 0;
  float* scale = nullptr;  // [rows], or [1] for quantize_tensor
};

// One scale a row: a weight's output channels, or the tokens of an activation. A row of zeros gets scale 1.
cudaError_t quantize_rows(const QuantizeArguments& arguments, cudaStream_t stream);

// One scale for all of it.
cudaError_t quantize_tensor(const QuantizeArguments& arguments, cudaStream_t stream);

}  // namespace baton::cuda
