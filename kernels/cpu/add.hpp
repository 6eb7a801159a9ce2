// add: x += y, one row.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline void add(float* x, const float* y, int64_t cols) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) (Vec::load(x + i) + Vec::load(y + i)).store(x + i);
  for (; i < cols; ++i) x[i] += y[i];
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
