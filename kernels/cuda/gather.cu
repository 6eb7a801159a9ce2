// gather: rows by index.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {

cudaError_t gather(const ConstRows& x, const std::int32_t* index, const Rows& y, cudaStream_t stream) {
  if (x.element != y.element) return cudaErrorInvalidValue;
  return with_activation(x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    return copy_rows<T, T>(x, index, y, stream);
  });
}

}  // namespace baton::cuda
