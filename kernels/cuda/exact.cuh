// The sampler's arithmetic on the device: src/model/exact_math.hpp and the noise of src/model/sampler.cpp,
// operation for operation. Intrinsics that round once, because the compiler may contract a * b + c but never
// these.
#pragma once

#include <cstdint>

namespace baton::cuda {

__device__ __forceinline__ double multiply_then_add(double a, double b, double c) {
  return __dadd_rn(__dmul_rn(a, b), c);
}

// x is positive, finite and normal.
__device__ __forceinline__ double exact_log(double x) {
  constexpr std::int64_t kSqrtHalf = 0x3fe6a09e667f3bcdLL;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const std::int64_t bits = __double_as_longlong(x);
  const std::int64_t e = (bits - kSqrtHalf) >> 52;
  const double m = __longlong_as_double(
      static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) - (static_cast<std::uint64_t>(e) << 52)));
  const double s = __ddiv_rn(__dsub_rn(m, 1.0), __dadd_rn(m, 1.0));
  const double q = __dmul_rn(s, s);
  double series = 1.0 / 21;
#pragma unroll
  for (int k = 19; k >= 3; k -= 2) series = multiply_then_add(series, q, 1.0 / k);
  const double twice = __dmul_rn(2.0, s);
  const double log_m = __dadd_rn(twice, __dmul_rn(__dmul_rn(twice, q), series));
  const double exponent = __ll2double_rn(e);
  return __dadd_rn(__dmul_rn(exponent, kLn2High), __dadd_rn(__dmul_rn(exponent, kLn2Low), log_m));
}

// x <= 700; below -700 it is 0.
__device__ __forceinline__ double exact_exp(double x) {
  constexpr double kRound = 0x1.8p52;
  constexpr double kInverseLn2 = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const double clamped = x < -700.0 ? -700.0 : x;
  const double shifted = multiply_then_add(clamped, kInverseLn2, kRound);
  const double k = __dsub_rn(shifted, kRound);
  const double r = __dsub_rn(__dsub_rn(clamped, __dmul_rn(k, kLn2High)), __dmul_rn(k, kLn2Low));
  double series = 1.0 / 6227020800.0;  // 1 / 13!
  series = multiply_then_add(series, r, 1.0 / 479001600.0);
  series = multiply_then_add(series, r, 1.0 / 39916800.0);
  series = multiply_then_add(series, r, 1.0 / 3628800.0);
  series = multiply_then_add(series, r, 1.0 / 362880.0);
  series = multiply_then_add(series, r, 1.0 / 40320.0);
  series = multiply_then_add(series, r, 1.0 / 5040.0);
  series = multiply_then_add(series, r, 1.0 / 720.0);
  series = multiply_then_add(series, r, 1.0 / 120.0);
  series = multiply_then_add(series, r, 1.0 / 24.0);
  series = multiply_then_add(series, r, 1.0 / 6.0);
  series = multiply_then_add(series, r, 0.5);
  series = __dadd_rn(__dadd_rn(__dmul_rn(__dmul_rn(series, r), r), r), 1.0);
  const double power = __longlong_as_double(
      static_cast<std::int64_t>((static_cast<std::uint64_t>(__double_as_longlong(shifted)) + 1023) << 52));
  return x < -700.0 ? 0.0 : __dmul_rn(series, power);
}

// SplitMix64's mixer.
__device__ __forceinline__ std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

inline constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

__device__ __forceinline__ std::uint64_t stream_key(std::uint64_t seed, std::uint32_t choice,
                                                    std::uint64_t index) {
  const std::uint64_t a = mix(seed + kGolden);
  const std::uint64_t b = mix(a ^ (std::uint64_t{choice} + kGolden));
  return mix(b + mix(index + 0x632be59bd9b4e019ULL));
}

__device__ __forceinline__ std::uint64_t noise_bits(std::uint64_t key, std::int32_t token) {
  return mix(key + kGolden * (static_cast<std::uint64_t>(token) + 1));
}

// Uniform in (0, 1).
__device__ __forceinline__ double uniform(std::uint64_t bits) {
  return __dmul_rn(__dadd_rn(__ull2double_rn(bits >> 12), 0.5), 0x1p-52);
}

__device__ __forceinline__ double gumbel(double u) { return -exact_log(-exact_log(u)); }

}  // namespace baton::cuda
