// A gate's arithmetic, on f32 values: x / (1 + e^-y) * z, all of them. None overflows to NaN where its
// operands are finite; NaN stays NaN.
#pragma once

#include "kernels/cuda/gate.hpp"

namespace baton::cuda {

struct GateFactors {
  float x, y, z;
};

struct Silu {
  __device__ __forceinline__ static GateFactors of(float gate, float up) { return {gate, gate, up}; }
};
struct Gelu {  // (1 + tanh a) / 2 = 1 / (1 + e^-2a)
  __device__ __forceinline__ static GateFactors of(float gate, float up) {
    return {gate, fmaf(gate * gate * gate, kGeluCubed, gate) * kGeluSlope, up};
  }
};
struct ClampedSilu {  // unlike fminf and fmaxf, comparisons keep NaN
  __device__ __forceinline__ static GateFactors of(float gate, float up) {
    const float low = gate > kClampedLimit ? kClampedLimit : gate;
    const float most = up > kClampedLimit ? kClampedLimit : up;
    const float within = most < -kClampedLimit ? -kClampedLimit : most;
    return {low, low * kClampedSlope, within + 1.0F};
  }
};

// As exact as f32 gets, with a fast exponential, and with a fast quotient, too. The fast ones are off by far
// less than a two-byte result is rounded by.
struct Exact {
  __device__ __forceinline__ static float product(const GateFactors& f) {
    return f.x / (1.0F + expf(-f.y)) * f.z;
  }
};
struct FastExponential {
  __device__ __forceinline__ static float product(const GateFactors& f) {
    return f.x / (1.0F + __expf(-f.y)) * f.z;
  }
};
struct Fast {
  __device__ __forceinline__ static float product(const GateFactors& f) {
    return __fdividef(f.x, 1.0F + __expf(-f.y)) * f.z;
  }
};

// For kernels that are not made for each gate.
template <class Arithmetic>
__device__ __forceinline__ float gated(Gate kind, float gate, float up) {
  return Arithmetic::product(kind == Gate::silu   ? Silu::of(gate, up)
                             : kind == Gate::gelu ? Gelu::of(gate, up)
                                                  : ClampedSilu::of(gate, up));
}

}  // namespace baton::cuda
