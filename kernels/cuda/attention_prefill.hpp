// The tensor-core kernels of prefill, behind prefill_attention().
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/attention.hpp"

namespace baton::cuda::attention {

// cudaErrorNotSupported: not for this shape, cache element or device.
cudaError_t prefill_mma(const PrefillAttention& attention, cudaStream_t stream);
cudaError_t prefill_resident(const PrefillAttention& attention, cudaStream_t stream);

}  // namespace baton::cuda::attention
