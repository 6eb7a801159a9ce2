// Weights on the GPU, as CudaOps packs them: row-major [out, in] in the element that the model computes in.
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
  Buffer bias;    // [out], the same element; empty: none
  cuda::Element element = cuda::Element::bf16;
  const void* bias_data() const { return bias.size() > 0 ? bias.data() : nullptr; }
};

// A norm's weight, [in] f32.
struct CudaVector final : Linear::Body {
  Buffer values;
  const float* data() const { return reinterpret_cast<const float*>(values.data()); }
};

cuda::Element element_on_gpu(DType dtype);

Result<std::shared_ptr<const CudaMatrix>> pack_on_gpu(Device device, std::span<const WeightView> weights,
                                                      DType compute);
Result<std::shared_ptr<const CudaVector>> pack_vector_on_gpu(Device device, const WeightView& weight);

}  // namespace baton
