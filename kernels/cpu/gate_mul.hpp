// gate_mul: what an activation makes of a gate, times what passes it, one row.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

// x / (1 + e^-y)
inline Vec times_sigmoid(Vec x, Vec y) { return x / (Vec::all(1.0F) + exp(Vec::zero() - y)); }

template <Gate G>
inline Vec gated(Vec gate, Vec up) {
  if constexpr (G == Gate::silu) {
    return times_sigmoid(gate, gate) * up;
  } else if constexpr (G == Gate::gelu) {  // (1 + tanh z) / 2 = 1 / (1 + e^-2z)
    const Vec cubed = gate * gate * gate;
    return times_sigmoid(gate, fma(cubed, Vec::all(kGeluCubed), gate) * Vec::all(kGeluSlope)) * up;
  } else {
    const Vec limit = Vec::all(kClampedLimit);
    const Vec low = min(limit, gate);  // in this order NaN stays NaN
    const Vec within = max(Vec::zero() - limit, min(limit, up));
    return times_sigmoid(low, low * Vec::all(kClampedSlope)) * (within + Vec::all(1.0F));
  }
}

template <Gate G>
inline void gate_row(const float* gate, const float* up, int64_t cols, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) gated<G>(Vec::load(gate + i), Vec::load(up + i)).store(y + i);
  for (; i < cols; ++i) {
    float value[kLanes];
    gated<G>(Vec::all(gate[i]), Vec::all(up[i])).store(value);
    y[i] = value[0];
  }
}

inline void gate_mul(Gate activation, const float* gate, const float* up, int64_t cols, float* y) {
  switch (activation) {
    case Gate::silu:
      return gate_row<Gate::silu>(gate, up, cols, y);
    case Gate::gelu:
      return gate_row<Gate::gelu>(gate, up, cols, y);
    case Gate::clamped_silu:
      return gate_row<Gate::clamped_silu>(gate, up, cols, y);
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
