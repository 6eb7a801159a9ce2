// Adapters as CpuOps keeps them: two packed matrices for each, beside the weight that they add to.
#pragma once

#include <vector>

#include "baton/tensor/ops.hpp"

namespace baton {

struct CpuAdapters final : Linear::Adapters {
  struct Adapter {
    Linear down;  // [in] -> [rank]; none: it leaves the weight alone
    Linear up;    // [rank] -> [out]
    std::vector<float> scales;
  };
  std::vector<Adapter> adapters;
};

}  // namespace baton
