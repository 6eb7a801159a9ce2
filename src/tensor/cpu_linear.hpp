// Weights as CpuOps keeps them: matrices packed in groups of outputs, in their own element type; norms as
// f32.
#pragma once

#include <span>

#include "baton/tensor/ops.hpp"
#include "kernels/cpu/kernels.hpp"
#include "thread_pool.hpp"

namespace baton {

struct PackedMatrix final : Linear::Body {
  Buffer weight;  // [ceil(out / group)][in][group], outputs past `out` are zero
  Buffer scale;   // f32 [ceil(out / group) * group], or empty
  Buffer bias;    // likewise
  kernels::Element type = kernels::Element::f32;
  std::int64_t group = 0;

  const float* scale_data() const { return reinterpret_cast<const float*>(scale.data()); }
  const float* bias_data() const { return reinterpret_cast<const float*>(bias.data()); }
};

struct NormVector final : Linear::Body {
  Buffer values;  // f32 [in]

  const float* data() const { return reinterpret_cast<const float*>(values.data()); }
};

// unsupported for element types that are no floats; invalid_argument for views that do not fit each other.
Result<Linear> pack_matrix(std::span<const WeightView> views, const kernels::Kernels& kernels,
                           ThreadPool& pool);
Result<Linear> pack_norm(const WeightView& view, const kernels::Kernels& kernels);

// dtype must be a float type.
kernels::Element element_of(DType dtype);

}  // namespace baton
