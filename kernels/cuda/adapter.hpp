// What adapters (LoRA, arXiv 2106.09685) add to the rows of a product y = x W^T, each row by its own adapter:
// y += up (scales * (down x)). Two steps: adapter_shrink makes the inner values, adapter_expand adds what
// comes of them.
//
// Which adapter a row has is read on the device, so a recorded step serves any of them: what is launched
// depends on the number of rows alone. Neighbouring rows of one adapter are taken together, up to
// kAdapterRun, and read its matrices once. A row's bits depend on that row and its adapter, not on its
// neighbours or its index. Rows without an adapter keep their bits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/rows.hpp"

namespace baton::cuda {

inline constexpr std::int32_t kAdapterRun = 8;

// In device memory. Matrices are contiguous, of the activations' element, and begin at multiples of 16 bytes.
struct AdapterEntry {
  const void* down = nullptr;     // [rank, in]
  const void* up = nullptr;       // [rank, out]: the transpose of what a checkpoint has
  const float* scales = nullptr;  // [rank]
  std::int32_t rank = 0;          // 0: its rows get nothing
};

struct AdapterRows {
  const AdapterEntry* adapters = nullptr;  // on the device
  const std::int32_t* of_row = nullptr;    // [rows] on the device, into `adapters`; negative: none
  std::int32_t most_rank = 0;              // no adapter's is larger
  Element element = Element::bf16;         // of down and up
};

// inner[r, j] = scales[j] * sum over k of down[j, k] x[r, k]; inner [x.rows, most_rank] f32. x has the
// adapters' element. What lies beyond a row's rank, and rows without an adapter, are not written.
cudaError_t adapter_shrink(const ConstRows& x, const AdapterRows& adapters, float* inner,
                           cudaStream_t stream);

// y[r, o] += sum over j of inner[r, j] up[j, o], rounded once; y has the adapters' element or f32.
cudaError_t adapter_expand(const float* inner, const AdapterRows& adapters, const Rows& y,
                           cudaStream_t stream);

}  // namespace baton::cuda
