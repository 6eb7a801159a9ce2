// Element conversions on the host, for weights and scales whose type is not the one that is computed in.
// Unaligned input allowed; rounds to nearest even, keeps infinities and NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baton/tensor/dtype.hpp"

namespace baton {

// To f32, f16 or bf16 from these or from e4m3.
void convert_values(const void* values, DType from, std::int64_t count, DType to, std::byte* target,
                    float scale = 1.0F);  // what every value is multiplied with

// e4m3 codes of one output's weights, rounded to nearest even, and the scale that goes with them: the largest
// finite magnitude becomes 448. What is not finite becomes NaN.
float quantise_to_e4m3(std::span<const float> values, std::span<std::byte> codes);

}  // namespace baton
