#include "baton/tensor/convert.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace baton {
namespace {

constexpr float kLargestCode = 448.0F;  // of e4m3

float from_half(std::uint16_t bits) {
  const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  const int exponent = bits >> 10 & 0x1F;
  const int mantissa = bits & 0x3FF;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

std::uint16_t to_half(float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000U : 0U;
  if (std::isnan(value)) return sign | 0x7E00U;
  const float size = std::fabs(value);
  if (size >= 65520.0F) return sign | 0x7C00U;
  if (size < 0x1p-14F) return sign | static_cast<std::uint16_t>(std::lrint(std::ldexp(size, 24)));
  int exponent = 0;
  const float fraction = std::frexp(size, &exponent);                            // [0.5, 1) * 2^exponent
  const auto mantissa = static_cast<int>(std::lrint(std::ldexp(fraction, 11)));  // [1024, 2048], 2048 carries
  return sign | static_cast<std::uint16_t>((exponent + 13) * 1024 + mantissa);
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

float from_e4m3(std::uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return std::nanf("");
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}

// Of a magnitude up to 448, or a little more by rounding.
std::uint8_t to_e4m3(float value) {
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (!std::isfinite(value)) return sign | 0x7F;
  const float size = std::fabs(value);
  if (size < 0x1p-6F) return sign | static_cast<std::uint8_t>(std::lrint(size * 512.0F));  // steps of 2^-9
  const auto bits = std::bit_cast<std::uint32_t>(size);
  const std::uint32_t rounded = bits + 0x7FFFFU + (bits >> 20 & 1U);
  return sign | static_cast<std::uint8_t>(std::min((rounded >> 20) - (120U << 3), 0x7EU));
}

float read(const std::byte* at, DType type) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, at, size_of(type));
  if (type == DType::f16) return from_half(static_cast<std::uint16_t>(bits));
  return std::bit_cast<float>(type == DType::bf16 ? bits << 16 : bits);
}

void write(float value, DType type, std::byte* at) {
  if (type == DType::f32) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const std::uint16_t bits = type == DType::f16 ? to_half(value) : to_bf16(value);
  std::memcpy(at, &bits, sizeof bits);
}

// Whole checkpoints come this way: what a code stands for is looked up.
void convert_codes(const std::byte* source, std::int64_t count, DType to, std::byte* target, float scale) {
  static const std::array<float, 256> meaning = [] {
    std::array<float, 256> made{};
    for (std::size_t code = 0; code < made.size(); ++code)
      made[code] = from_e4m3(static_cast<std::uint8_t>(code));
    return made;
  }();
  const auto each = [&](auto store) {
    for (std::int64_t i = 0; i < count; ++i)
      store(i, scale * meaning[std::to_integer<std::size_t>(source[i])]);
  };
  const auto put = [&](std::int64_t i, const auto& bits) {
    std::memcpy(target + static_cast<std::size_t>(i) * sizeof bits, &bits, sizeof bits);
  };
  if (to == DType::f32) each([&](std::int64_t i, float value) { put(i, value); });
  if (to == DType::bf16) each([&](std::int64_t i, float value) { put(i, to_bf16(value)); });
  if (to == DType::f16) each([&](std::int64_t i, float value) { put(i, to_half(value)); });
}

}  // namespace

float quantise_to_e4m3(std::span<const float> values, std::span<std::byte> codes) {
  float largest = 0;
  for (const float value : values)
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  const float scale = largest / kLargestCode;
  if (!(scale >= std::numeric_limits<float>::min())) {  // all zero, or as good as
    for (std::size_t i = 0; i < values.size(); ++i) codes[i] = std::byte{to_e4m3(values[i] * 0.0F)};
    return 1.0F;
  }
  for (std::size_t i = 0; i < values.size(); ++i) codes[i] = std::byte{to_e4m3(values[i] / scale)};
  return scale;
}

void convert_values(const void* values, DType from, std::int64_t count, DType to, std::byte* target,
                    float scale) {
  const auto* source = static_cast<const std::byte*>(values);
  if (from == DType::e4m3) return convert_codes(source, count, to, target, scale);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(i);
    write(scale * read(source + index * size_of(from), from), to, target + index * size_of(to));
  }
}

}  // namespace baton
