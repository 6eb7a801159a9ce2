// store: f32 values into the KV cache's element type, rounded to nearest even; NaN stays NaN.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

inline std::uint16_t to_bf16(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
  const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<std::uint16_t>((nan ? bits | 0x400000U : rounded) >> 16);
}

inline std::uint16_t to_f16(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x47800000U) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (magnitude < 0x38800000U) {  // subnormal: adding 0.5 puts the rounded units of 2^-24 into the low bits
    const std::uint32_t shifted = bits_of((value < 0 ? -value : value) + 0.5F);
    return static_cast<std::uint16_t>(sign | (shifted - 0x3F000000U));
  }
  const std::uint32_t rounded = magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

// As CUDA converts: saturates, and a NaN loses its sign.
inline std::uint8_t to_e4m3(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 24) & 0x80U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return 0x7FU;
  if (magnitude >= 0x43E00000U) return static_cast<std::uint8_t>(sign | 0x7EU);  // 448
  if (magnitude < 0x3C800000U) {  // subnormal: adding 2^14 puts the rounded units of 2^-9 into the low bits
    const std::uint32_t shifted = bits_of((value < 0 ? -value : value) + 16384.0F);
    return static_cast<std::uint8_t>(sign | (shifted - 0x46800000U));
  }
  const std::uint32_t rounded = magnitude - 0x3C000000U + 0x7FFFFU + ((magnitude >> 20) & 1U);
  return static_cast<std::uint8_t>(sign | (rounded >> 20));
}

inline void store(const float* x, int64_t count, Element type, void* out) {
  if (type == Element::f32) {
    __builtin_memcpy(out, x, static_cast<std::size_t>(count) * sizeof(float));
  } else if (type == Element::bf16) {
    auto* to = static_cast<std::uint16_t*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = to_bf16(x[i]);
  } else if (type == Element::e4m3) {
    auto* to = static_cast<std::uint8_t*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = to_e4m3(x[i]);
  } else {
    auto* to = static_cast<std::uint16_t*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = to_f16(x[i]);
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
