// Which kernel a prefill goes to.
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_prefill.hpp"

namespace baton::cuda {

cudaError_t prefill_attention(const PrefillAttention& attention, cudaStream_t stream) {
  if (!attention::valid(attention.rows, attention.kv) || attention.tile_count < 0 ||
      attention.tile_count > 65535) {
    return cudaErrorInvalidValue;
  }
  if (attention.tile_count == 0) return cudaSuccess;
  const PrefillVersion version = attention.version;
  const bool any = version == PrefillVersion::best;
  if (version != PrefillVersion::generic && attention::tensor_cores_can(attention.rows, attention.kv)) {
    if (any || version == PrefillVersion::resident) {
      const cudaError_t status = attention::prefill_resident(attention, stream);
      if (status != cudaErrorNotSupported) return status;
    }
    if (any || version == PrefillVersion::mma) {
      const cudaError_t status = attention::prefill_mma(attention, stream);
      if (status != cudaErrorNotSupported) return status;
    }
  }
  if (!any && version != PrefillVersion::generic) return cudaErrorInvalidValue;
  return attention::generic_prefill(attention, stream);
}

}  // namespace baton::cuda
