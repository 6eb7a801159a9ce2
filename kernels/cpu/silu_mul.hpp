// silu_mul: y = gate / (1 + e^-gate) * up, one row.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline Vec silu_mul(Vec gate, Vec up) { return gate / (Vec::all(1.0F) + exp(Vec::zero() - gate)) * up; }

inline void silu_mul(const float* gate, const float* up, int64_t cols, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) silu_mul(Vec::load(gate + i), Vec::load(up + i)).store(y + i);
  for (; i < cols; ++i) {
    float value[kLanes];
    silu_mul(Vec::all(gate[i]), Vec::all(up[i])).store(value);
    y[i] = value[0];
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
