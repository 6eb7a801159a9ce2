// Weights on the GPU, as CudaOps packs them: row-major [out, in] in the element that the model computes in,
// or as the e4m3 codes of the checkpoint with a scale for each output.
#pragma once

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "baton/tensor/buffer.hpp"
#include "baton/tensor/ops.hpp"
#include "kernels/cuda/element.hpp"

namespace baton {

struct CudaMatrix final : Linear::Body {
  Buffer weight;  // [out, in]
  Buffer bias;    // [out], of the element that is computed in; empty: none
  Buffer scales;  // [out] f32 with e4m3; else empty
  cuda::Element element = cuda::Element::bf16;
  const void* bias_data() const { return bias.size() > 0 ? bias.data() : nullptr; }
  const float* scale_data() const {
    return scales.size() > 0 ? reinterpret_cast<const float*>(scales.data()) : nullptr;
  }
};

// A norm's weight, [in] f32.
struct CudaVector final : Linear::Body {
  Buffer values;
  const float* data() const { return reinterpret_cast<const float*>(values.data()); }
};

cuda::Element element_on_gpu(DType dtype);

// What every packing asks of views that become one weight.
Result<void> check_weights(std::span<const WeightView> weights);
// A weight's values, [out, in], in f32, f16 or bf16; e4m3's times their scales.
std::vector<std::byte> expanded(const WeightView& view, DType to);
// To the current device; all of it is there afterwards.
Result<void> copy_to_gpu(std::span<const std::byte> values, std::byte* target);

// What becomes of e4m3 weights.
enum class Codes : std::uint8_t { expand, keep };

// Keeps codes only where all weights are e4m3.
Result<std::shared_ptr<const CudaMatrix>> pack_on_gpu(Device device, std::span<const WeightView> weights,
                                                      DType compute, Codes codes);
Result<std::shared_ptr<const CudaVector>> pack_vector_on_gpu(Device device, const WeightView& weight);

}  // namespace baton
