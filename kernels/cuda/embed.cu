// embed: rows of a table by token id.
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {

cudaError_t embed(const ConstRows& table, const std::int32_t* tokens, const Rows& y, cudaStream_t stream) {
  return with_activation(table.element, [&](auto from) {
    return with_activation(y.element, [&](auto to) {
      return copy_rows<typename decltype(from)::type, typename decltype(to)::type>(table, tokens, y, stream);
    });
  });
}

}  // namespace baton::cuda
