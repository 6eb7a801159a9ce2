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

inline cuda::Rows rows_of(const Tensor& x) {
  return {x.data, x.stride, static_cast<std::int32_t>(x.rows), static_cast<std::int32_t>(x.cols),
          element_on_gpu(x.dtype)};
}

}  // namespace baton
