// rms_norm: y = x / sqrt(mean(x^2) + epsilon) * weight, one row.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline float sum_of_squares(const float* x, int64_t cols) {
  Vec part[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= cols; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const Vec value = Vec::load(x + i + v * kLanes);
      part[v] = fma(value, value, part[v]);
    }
  }
  float total = sum((part[0] + part[1]) + (part[2] + part[3]));
  for (; i < cols; ++i) total = fma(x[i], x[i], total);
  return total;
}

inline void rms_norm(const float* x, const float* weight, int64_t cols, float epsilon, float* y) {
  const float mean = sum_of_squares(x, cols) / static_cast<float>(cols);
  const float inverse = 1.0F / __builtin_sqrtf(mean + epsilon);
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    (Vec::load(x + i) * Vec::all(inverse) * Vec::load(weight + i)).store(y + i);
  }
  for (; i < cols; ++i) y[i] = x[i] * inverse * weight[i];
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
