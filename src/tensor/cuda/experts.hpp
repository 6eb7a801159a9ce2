// The experts of a layer on the GPU: one matrix of all gates and ups, one of all downs, so that one launch
// reaches every expert.
#pragma once

#include <memory>
#include <span>

#include "linear.hpp"

namespace baton {

struct CudaExperts final : Experts::Body {
  std::shared_ptr<const CudaMatrix> gate_up;  // [count * 2 * ffn, in]
  std::shared_ptr<const CudaMatrix> down;     // [count * in, ffn]
};

Result<std::shared_ptr<const CudaExperts>> pack_experts_on_gpu(Device device,
                                                               std::span<const ExpertView> experts,
                                                               DType compute);

}  // namespace baton
