// rope: rotates pairs (i, i + head_dim / 2) of every head of one row (Su et al. 2021, Hugging Face's
// pairing).
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline void rope(const RopeArgs& args) {
  const int64_t half = args.head_dim / 2;
  for (int64_t h = 0; h < args.heads; ++h) {
    float* low = args.row + h * args.head_dim;
    float* high = low + half;
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) {
      const Vec c = Vec::load(args.cosine + i), s = Vec::load(args.sine + i);
      const Vec x = Vec::load(low + i), y = Vec::load(high + i);
      fma(x, c, Vec::zero() - y * s).store(low + i);
      fma(y, c, x * s).store(high + i);
    }
    for (; i < half; ++i) {
      const float c = args.cosine[i], s = args.sine[i];
      const float x = low[i], y = high[i];
      low[i] = fma(x, c, 0.0F - y * s);
      high[i] = fma(y, c, x * s);
    }
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
