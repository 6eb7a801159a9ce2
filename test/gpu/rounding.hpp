// What the tests of Ops in bf16 and f16 share: inputs that these hold exactly, and how far a result may be
// from the f32 oracle's.
#pragma once

#include <cmath>

#include "tensor/ops_contract.hpp"

namespace baton::test {

inline double unit(DType dtype) { return dtype == DType::f16 ? 0x1p-11 : 0x1p-8; }

inline void check_near(const Matrix& got, const Matrix& want, double tolerance, const char* what) {
  REQUIRE(got.values.size() == want.values.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    difference += std::pow(static_cast<double>(got.values[i]) - static_cast<double>(want.values[i]), 2);
    size += std::pow(static_cast<double>(want.values[i]), 2);
  }
  const double error = std::sqrt(difference / size);
  INFO(what << ": relative error " << error << ", allowed " << tolerance);
  CHECK(error <= tolerance);  // false for NaN
}

// Few bits, so that f16, bf16 and e4m3 hold them exactly.
inline Matrix coarse(std::int64_t rows, std::int64_t cols, unsigned seed, float width = 1.0F) {
  Matrix made = Matrix::random(rows, cols, seed);
  for (float& value : made.values) value = std::round(value * 7.0F) / 8.0F * width;
  return made;
}

}  // namespace baton::test
