// What every backend asks of adapters before it packs them.
#pragma once

#include <span>

#include "baton/tensor/ops.hpp"

namespace baton {

// invalid_argument for shapes that do not fit a weight [out, in], unsupported for a rank beyond
// kMostAdapterRank; both name the field.
Result<void> check_adapters(std::int64_t out, std::int64_t in, std::span<const AdapterView> adapters);

}  // namespace baton
