// Gates in double: what comes of a pair is opened(gate) * passed(up).
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cuda/gate.hpp"

namespace baton::gpu {

inline constexpr cuda::Gate kGates[] = {cuda::Gate::silu, cuda::Gate::gelu, cuda::Gate::clamped_silu};
inline const char* name_of(cuda::Gate gate) {
  constexpr const char* kNames[] = {"no gate", "silu", "gelu", "clamped silu"};
  return kNames[static_cast<int>(gate)];
}

inline double opened(cuda::Gate kind, double gate) {
  if (kind == cuda::Gate::silu) return gate / (1 + std::exp(-gate));
  if (kind == cuda::Gate::gelu) {
    // (1 + tanh z) / 2, without the difference of nearly equal numbers where z is far below 0
    return gate / (1 + std::exp(-2 * 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)));
  }
  const double low = gate > 7 ? 7 : gate;
  return low / (1 + std::exp(-1.702 * low));
}
inline double passed(cuda::Gate kind, double up) {
  return kind == cuda::Gate::clamped_silu ? std::clamp(up, -7.0, 7.0) + 1 : up;
}

}  // namespace baton::gpu
