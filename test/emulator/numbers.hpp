// The small floating point formats, bit by bit and apart from Baton's own conversions, which they check.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace baton::emulator {

// A format of an exponent and a mantissa; round to nearest, ties to even.
template <int kExponentBits, int kMantissaBits>
struct SmallFloat {
  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr std::uint32_t kInfinity = ((1U << kExponentBits) - 1) << kMantissaBits;

  static float widen(std::uint16_t bits) {
    const std::uint32_t sign = bits >> (kExponentBits + kMantissaBits) & 1U;
    const std::uint32_t exponent = bits >> kMantissaBits & ((1U << kExponentBits) - 1);
    const std::uint32_t mantissa = bits & ((1U << kMantissaBits) - 1);
    if (exponent == (1U << kExponentBits) - 1) {
      const float special = mantissa == 0 ? INFINITY : NAN;
      return sign != 0 ? -special : special;
    }
    const double magnitude = exponent == 0
                                 ? std::ldexp(static_cast<double>(mantissa), 1 - kBias - kMantissaBits)
                                 : std::ldexp(1.0 + std::ldexp(static_cast<double>(mantissa), -kMantissaBits),
                                              static_cast<int>(exponent) - kBias);
    return static_cast<float>(sign != 0 ? -magnitude : magnitude);
  }

  // The magnitude's bits; above the largest number they say infinity.
  static std::uint32_t round_magnitude(double magnitude) {
    if (magnitude == 0) return 0;
    int exponent = 0;
    std::frexp(magnitude, &exponent);  // magnitude = [0.5, 1) * 2^exponent
    exponent = std::max(exponent - 1, 1 - kBias);
    const double steps = std::nearbyint(std::ldexp(magnitude, kMantissaBits - exponent));
    if (exponent > kBias + 1) return kInfinity;
    // A carry out of the mantissa arrives in the exponent by itself.
    const auto bits = static_cast<std::uint32_t>(steps) +
                      (static_cast<std::uint32_t>(exponent + kBias - 1) << kMantissaBits);
    return std::min(bits, kInfinity);
  }

  static std::uint16_t round(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t exponent = bits >> 23 & 0xff;
    // Normal in both formats: what falls off the mantissa rounds it, and a carry goes on into the exponent.
    if (constexpr int kAway = 127 - kBias; exponent > kAway && exponent < 127 + kBias) {
      constexpr int kDropped = 23 - kMantissaBits;
      const std::uint32_t magnitude = (bits & 0x7fffffff) - (static_cast<std::uint32_t>(kAway) << 23);
      const std::uint32_t rounded =
          (magnitude + (1U << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1)) >> kDropped;
      return static_cast<std::uint16_t>(bits >> 31 << (kExponentBits + kMantissaBits) | rounded);
    }
    return round(static_cast<double>(value));
  }
  static std::uint16_t round(double value) {
    const std::uint32_t sign = std::signbit(value) ? 1U << (kExponentBits + kMantissaBits) : 0;
    if (std::isnan(value)) return static_cast<std::uint16_t>((1U << (kExponentBits + kMantissaBits)) - 1);
    if (std::isinf(value)) return static_cast<std::uint16_t>(sign | kInfinity);
    return static_cast<std::uint16_t>(sign | round_magnitude(std::fabs(value)));
  }
};

using Half16 = SmallFloat<5, 10>;
using Brain16 = SmallFloat<8, 7>;

// e4m3 has no infinity: all ones are NaN, and the exponent of all ones counts on to 448.
struct E4m3 {
  static float widen(std::uint8_t bits) {
    if ((bits & 0x7f) == 0x7f) return NAN;
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const float magnitude = exponent == 0
                                ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(1.0F + static_cast<float>(mantissa) / 8.0F, exponent - 7);
    return (bits & 0x80) != 0 ? -magnitude : magnitude;
  }
  // cvt.rn.satfinite
  static std::uint8_t round(float value) {
    if (std::isnan(value)) return 0x7f;
    const auto sign = static_cast<std::uint8_t>(std::signbit(value) ? 0x80 : 0);
    const float magnitude = std::fabs(value);
    if (magnitude >= 448.0F) return static_cast<std::uint8_t>(sign | 0x7e);
    if (magnitude == 0) return sign;
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    exponent = std::max(exponent - 1, -6);
    const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
    return static_cast<std::uint8_t>(sign | std::min(steps + ((exponent + 7 - 1) << 3), 0x7e));
  }
};

}  // namespace baton::emulator
