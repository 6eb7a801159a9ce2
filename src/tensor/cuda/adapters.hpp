// Adapters as CudaOps keeps them: all of a weight's in one piece of device memory, matrices in the type that
// is computed in, and the table by which kernels find them.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <span>

#include "baton/tensor/buffer.hpp"
#include "baton/tensor/ops.hpp"
#include "kernels/cuda/adapter.hpp"

namespace baton {

struct CudaAdapters final : Linear::Adapters {
  Buffer memory;  // [adapters] of cuda::AdapterEntry, then what they point at
  cuda::Element element = cuda::Element::bf16;
  std::int32_t most_rank = 0;
  const cuda::AdapterEntry* entries() const {
    return reinterpret_cast<const cuda::AdapterEntry*>(memory.data());
  }
};

// Null where every adapter leaves the weight alone.
Result<std::shared_ptr<const CudaAdapters>> pack_adapters_on_gpu(Device device,
                                                                 std::span<const AdapterView> adapters,
                                                                 DType compute);

}  // namespace baton
