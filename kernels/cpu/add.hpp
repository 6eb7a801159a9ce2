// add: x += factor * y, one row.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline void add(float* x, const float* y, float factor, int64_t cols) {
  const Vec factors = Vec::all(factor);
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) fma(factors, Vec::load(y + i), Vec::load(x + i)).store(x + i);
  for (; i < cols; ++i) x[i] = fma(factor, y[i], x[i]);
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
