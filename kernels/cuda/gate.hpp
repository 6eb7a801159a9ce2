// What a gate does to what passes it, in an FFN.
#pragma once

#include <cstdint>

namespace baton::cuda {

enum class Gate : std::uint8_t {
  none,          // there is no gate: outputs are what they are
  silu,          // gate / (1 + e^-gate) * up
  gelu,          // gate * (1 + tanh(sqrt(2 / pi) * (gate + 0.044715 gate^3))) / 2 * up
  clamped_silu,  // g / (1 + e^(-1.702 g)) * (u + 1), g = gate up to 7, u = up from -7 to 7
};

inline constexpr float kGeluCubed = 0.044715F;
inline constexpr float kGeluSlope = 1.5957691216F;  // 2 sqrt(2 / pi)
inline constexpr float kClampedLimit = 7.0F;
inline constexpr float kClampedSlope = 1.702F;

}  // namespace baton::cuda
