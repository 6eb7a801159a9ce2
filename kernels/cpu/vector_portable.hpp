// Vec, portable: four floats in the compiler's own vector type. Without an FMA instruction: multiply, then
// add.
#pragma once

#include <cstdint>

#define BATON_ISA portable

namespace baton::kernels {
inline namespace BATON_ISA {

inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
inline constexpr int kTileRows = 6;

inline float bits_to_float(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1F) {  // infinity, or NaN made quiet as the hardware does
    return bits_to_float(sign | 0x7F800000U | (mantissa << 13) | (mantissa ? 0x400000U : 0U));
  }
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float value = static_cast<float>(mantissa) * 0x1p-24F;
  return sign ? -value : value;
}

inline float e4m3_to_float(std::uint8_t code) {
  const std::uint32_t magnitude = code & 0x7FU;
  if (magnitude == 0x7F) return __builtin_nanf("");
  return half_to_float(static_cast<std::uint16_t>((code & 0x80U) << 8 | magnitude << 7)) * 256.0F;
}

struct Vec {
  typedef float Raw __attribute__((vector_size(16)));
  Raw raw;

  static Vec zero() { return {Raw{0, 0, 0, 0}}; }
  static Vec all(float x) { return {Raw{x, x, x, x}}; }
  static Vec load(const float* p) {
    Vec v;
    __builtin_memcpy(&v.raw, p, sizeof(Raw));
    return v;
  }
  static Vec load_bf16(const std::uint16_t* p) {
    return {Raw{bits_to_float(static_cast<std::uint32_t>(p[0]) << 16),
                bits_to_float(static_cast<std::uint32_t>(p[1]) << 16),
                bits_to_float(static_cast<std::uint32_t>(p[2]) << 16),
                bits_to_float(static_cast<std::uint32_t>(p[3]) << 16)}};
  }
  static Vec load_f16(const std::uint16_t* p) {
    return {Raw{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])}};
  }
  static Vec load_e4m3(const std::uint8_t* p) {
    return {Raw{e4m3_to_float(p[0]), e4m3_to_float(p[1]), e4m3_to_float(p[2]), e4m3_to_float(p[3])}};
  }
  static Vec load_e4m3_part(const std::uint8_t* p) { return {load_e4m3(p).raw * (1.0F / 256)}; }
  void store(float* p) const { __builtin_memcpy(p, &raw, sizeof(Raw)); }
  void store_n(float* p, std::int64_t n) const {
    for (int i = 0; i < n; ++i) p[i] = raw[i];
  }
};

inline Vec operator+(Vec a, Vec b) { return {a.raw + b.raw}; }
inline Vec operator-(Vec a, Vec b) { return {a.raw - b.raw}; }
inline Vec operator*(Vec a, Vec b) { return {a.raw * b.raw}; }
inline Vec operator/(Vec a, Vec b) { return {a.raw / b.raw}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.raw * b.raw + c.raw}; }
inline float fma(float a, float b, float c) { return a * b + c; }

// The second operand where either is NaN, as the x86 instructions do.
inline Vec min(Vec a, Vec b) {
  for (int i = 0; i < 4; ++i) a.raw[i] = a.raw[i] < b.raw[i] ? a.raw[i] : b.raw[i];
  return a;
}
inline Vec max(Vec a, Vec b) {
  for (int i = 0; i < 4; ++i) a.raw[i] = a.raw[i] > b.raw[i] ? a.raw[i] : b.raw[i];
  return a;
}
// Nearest integer; |x| < 2^22.
inline Vec round(Vec x) {
  const Vec magic = Vec::all(12582912.0F);
  return (x + magic) - magic;
}
// x * 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) {
  for (int i = 0; i < 4; ++i) {
    x.raw[i] *= bits_to_float(static_cast<std::uint32_t>(static_cast<std::int32_t>(n.raw[i]) + 127) << 23);
  }
  return x;
}
// x where test >= bound or test is NaN, else 0.
inline Vec zero_below(Vec x, Vec test, Vec bound) {
  for (int i = 0; i < 4; ++i) x.raw[i] = test.raw[i] < bound.raw[i] ? 0.0F : x.raw[i];
  return x;
}
inline float sum(Vec x) { return (x.raw[0] + x.raw[2]) + (x.raw[1] + x.raw[3]); }
inline float maximum(Vec x) {
  float best = x.raw[0];
  for (int i = 1; i < 4; ++i) best = x.raw[i] > best ? x.raw[i] : best;
  return best;
}
inline void transpose(Vec (&rows)[kLanes]) {
  for (int i = 0; i < kLanes; ++i) {
    for (int j = i + 1; j < kLanes; ++j) {
      const float kept = rows[i].raw[j];
      rows[i].raw[j] = rows[j].raw[i];
      rows[j].raw[i] = kept;
    }
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
