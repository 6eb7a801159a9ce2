// What every backend asks of a layer's experts before it packs them.
#pragma once

#include <span>

#include "baton/tensor/ops.hpp"

namespace baton {

// invalid_argument, unsupported: as Ops::pack_experts says.
Result<void> check_experts(std::span<const ExpertView> experts);

}  // namespace baton
