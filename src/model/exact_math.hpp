// log and exp from IEEE additions, multiplications and divisions only, so that every machine computes the
// same bits; libm's differ between versions and between CPUs with and without FMA. (The build forbids
// contraction, cmake/Options.cmake.) Both are good to a few units in the last place, branch-free and
// vectorisable.
#pragma once

#include <bit>
#include <cstdint>

namespace baton {

// x is positive, finite and normal.
inline double exact_log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
  constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdULL;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const auto e = static_cast<std::int64_t>(bits - kSqrtHalf) >> 52;
  const auto m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(e) << 52));
  const double s = (m - 1) / (m + 1);
  const double q = s * s;
  double series = 1.0 / 21;
  for (int k = 19; k >= 3; k -= 2) series = series * q + 1.0 / k;
  const double log_m = 2 * s + 2 * s * q * series;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 33 bits: e * kLn2High is exact
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  return static_cast<double>(e) * kLn2High + (static_cast<double>(e) * kLn2Low + log_m);
}

// x <= 700; below -700 it is 0. Never NaN for a number.
inline double exact_exp(double x) {
  constexpr double kRound = 0x1.8p52;  // adding it rounds to an integer, left in the low bits
  constexpr double kInverseLn2 = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const double clamped = x < -700.0 ? -700.0 : x;
  const double shifted = clamped * kInverseLn2 + kRound;
  const double k = shifted - kRound;
  const double r = (clamped - k * kLn2High) - k * kLn2Low;  // |r| <= ln(2) / 2
  double series = 1.0 / 6227020800.0;                       // 1 / 13!
  series = series * r + 1.0 / 479001600.0;
  series = series * r + 1.0 / 39916800.0;
  series = series * r + 1.0 / 3628800.0;
  series = series * r + 1.0 / 362880.0;
  series = series * r + 1.0 / 40320.0;
  series = series * r + 1.0 / 5040.0;
  series = series * r + 1.0 / 720.0;
  series = series * r + 1.0 / 120.0;
  series = series * r + 1.0 / 24.0;
  series = series * r + 1.0 / 6.0;
  series = series * r + 0.5;
  series = series * r * r + r + 1.0;
  const auto power = std::bit_cast<double>((std::bit_cast<std::uint64_t>(shifted) + 1023) << 52);
  return x < -700.0 ? 0.0 : series * power;
}

}  // namespace baton
