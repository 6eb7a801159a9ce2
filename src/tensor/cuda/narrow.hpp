// Element conversions on the host, for weights whose type is not the one that the model computes in.
// Unaligned input allowed; rounds to nearest even, keeps infinities and NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "baton/tensor/dtype.hpp"

namespace baton {

// f32, f16 and bf16, either way.
void convert_values(const void* values, DType from, std::int64_t count, DType to, std::byte* target);

}  // namespace baton
