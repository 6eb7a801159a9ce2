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

// Whole checkpoints come this way: chosen by masks, so that loops over these are vector code. (A sum that is
// only made on one side of a `?:` is a branch to the compiler: it might trap.)
constexpr std::int32_t kInfinity = 0x7F800000;  // as the bits of a float

// a where size < limit, else b; of numbers that are not negative.
std::int32_t below(std::int32_t size, std::int32_t limit, std::int32_t a, std::int32_t b) {
  const std::int32_t mask = (size - limit) >> 31;
  return (a & mask) | (b & ~mask);
}

float from_half(std::uint16_t bits) {
  const std::int32_t size = (bits & 0x7FFF) << 13;
  const std::int32_t normal = size + (112 << 23);
  const auto small = std::bit_cast<std::int32_t>(std::bit_cast<float>(size + (113 << 23)) - 0x1p-14F);
  const std::int32_t finite = below(size, 1 << 23, small, normal);             // small: in steps of 2^-24
  const std::int32_t value = below(size, 31 << 23, finite, size | kInfinity);  // or NaN
  return std::bit_cast<float>(value | static_cast<std::int32_t>((bits & 0x8000U) << 16));
}

std::uint16_t to_half(float value) {
  const auto bits = std::bit_cast<std::int32_t>(value);
  const std::int32_t size = bits & 0x7FFFFFFF;
  const std::int32_t normal = (size - (112 << 23) + 0xFFF + (size >> 13 & 1)) >> 13;
  // The steps below 2^-14 are those of 0.5: 2^-24.
  const std::int32_t small =
      std::bit_cast<std::int32_t>(std::bit_cast<float>(size) + 0.5F) - std::bit_cast<std::int32_t>(0.5F);
  const std::int32_t finite = below(size, 113 << 23, small, normal);
  const std::int32_t beyond = below(kInfinity, size, 0x7E00, 0x7C00);  // NaN, or from 65520 on
  return static_cast<std::uint16_t>(below(size, 0x477FF000, finite, beyond) | (bits >> 16 & 0x8000));
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::int32_t>(value);
  const auto rounded =
      static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) + 0x7FFFU + (bits >> 16 & 1));
  return static_cast<std::uint16_t>(below(kInfinity, bits & 0x7FFFFFFF, bits | 0x400000, rounded) >> 16);
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

// widen(bits) is the value of an element of the type that has these `Bits`.
template <class Bits, class Widen>
void convert_each(const std::byte* source, std::int64_t count, DType to, std::byte* target, float scale,
                  Widen widen) {
  const auto each = [&](auto narrow) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      Bits bits{};
      std::memcpy(&bits, source + i * sizeof bits, sizeof bits);
      const auto narrowed = narrow(scale * widen(bits));
      std::memcpy(target + i * sizeof narrowed, &narrowed, sizeof narrowed);
    }
  };
  if (to == DType::f32) each([](float value) { return value; });
  if (to == DType::bf16) each(to_bf16);
  if (to == DType::f16) each(to_half);
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
  static const std::array<float, 256> meaning = [] {
    std::array<float, 256> made{};
    for (std::size_t code = 0; code < made.size(); ++code)
      made[code] = from_e4m3(static_cast<std::uint8_t>(code));
    return made;
  }();
  const auto* source = static_cast<const std::byte*>(values);
  const auto convert = [&]<class Bits>(Bits, auto widen) {
    convert_each<Bits>(source, count, to, target, scale, widen);
  };
  if (from == DType::e4m3) convert(std::uint8_t{}, [](std::uint8_t code) { return meaning[code]; });
  if (from == DType::f16) convert(std::uint16_t{}, from_half);
  if (from == DType::bf16)
    convert(std::uint16_t{},
            [](std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); });
  if (from == DType::f32) convert(0.0F, [](float value) { return value; });
}

}  // namespace baton
