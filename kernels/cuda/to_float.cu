// to_float: rows as f32.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {

cudaError_t to_float(const ConstRows& x, const Rows& y, cudaStream_t stream) {
  if (y.element != Element::f32 || x.rows != y.rows) return cudaErrorInvalidValue;
  return with_activation(x.element, [&](auto element) {
    return copy_rows<typename decltype(element)::type, float>(x, nullptr, y, stream);
  });
}

}  // namespace baton::cuda
