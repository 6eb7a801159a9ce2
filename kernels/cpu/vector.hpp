// What the kernels share on top of Vec: loads by element type, exp. Include after one vector_<isa>.hpp.
//
// Everything lies in the inline namespace of its instruction set and nothing here calls an inline function of
// the standard library: the linker keeps one copy of such a function, and it might be the AVX-512 one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kernels.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

using std::int64_t;

constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

template <Element E>
struct Stored;
template <>
struct Stored<Element::f32> {
  using Type = float;
  static Vec load(const float* p) { return Vec::load(p); }
};
template <>
struct Stored<Element::f16> {
  using Type = std::uint16_t;
  static Vec load(const std::uint16_t* p) { return Vec::load_f16(p); }
};
template <>
struct Stored<Element::bf16> {
  using Type = std::uint16_t;
  static Vec load(const std::uint16_t* p) { return Vec::load_bf16(p); }
};
template <>
struct Stored<Element::e4m3> {
  using Type = std::uint8_t;
  static Vec load(const std::uint8_t* p) { return Vec::load_e4m3(p); }
};

template <>
struct Stored<Element::e4m3_finite> {
  using Type = std::uint8_t;
  static Vec load(const std::uint8_t* p) { return load_part(p) * Vec::all(kPart); }
  // The value divided by kPart: so many times as much in x makes the same products.
  static constexpr float kPart = 256.0F;
  static Vec load_part(const std::uint8_t* p) { return Vec::load_e4m3_part(p); }
};

template <Element E>
inline float load_one(const typename Stored<E>::Type* p) {
  if constexpr (E == Element::f32) {
    return *p;
  } else if constexpr (E == Element::bf16) {
    const std::uint32_t bits = static_cast<std::uint32_t>(*p) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  } else {
    typename Stored<E>::Type padded[kLanes] = {*p};
    float values[kLanes];
    Stored<E>::load(padded).store(values);
    return values[0];
  }
}

// Calls f.template operator()<E>() for the element type.
template <class F>
inline void with_element(Element type, F&& f) {
  switch (type) {
    case Element::f32:
      return f.template operator()<Element::f32>();
    case Element::f16:
      return f.template operator()<Element::f16>();
    case Element::bf16:
      return f.template operator()<Element::bf16>();
    case Element::e4m3:
      return f.template operator()<Element::e4m3>();
    case Element::e4m3_finite:
      return f.template operator()<Element::e4m3_finite>();
  }
}
// e^x, relative error below 2e-7. Below -87.33 it is 0, above 88.37 it stays at 2.4e38; NaN stays NaN.
inline Vec exp(Vec x) {
  const Vec lowest = Vec::all(-87.33654F);
  const Vec clamped = max(lowest, min(Vec::all(88.37626F), x));
  const Vec n = round(clamped * Vec::all(1.44269504F));
  Vec r =
      fma(n, Vec::all(-0.693359375F), clamped);  // ln 2 in two parts, the first exact when multiplied by n
  r = fma(n, Vec::all(2.12194440e-4F), r);
  Vec p = Vec::all(1.0F / 5040);  // Taylor: |r| <= 0.347, so the first term left out is below 6e-9
  p = fma(p, r, Vec::all(1.0F / 720));
  p = fma(p, r, Vec::all(1.0F / 120));
  p = fma(p, r, Vec::all(1.0F / 24));
  p = fma(p, r, Vec::all(1.0F / 6));
  p = fma(p, r, Vec::all(0.5F));
  p = fma(p, r, Vec::all(1.0F));
  p = fma(p, r, Vec::all(1.0F));
  return zero_below(scale_by_power(p, n), x, lowest);
}
inline float exp(float x) {
  float values[kLanes];
  exp(Vec::all(x)).store(values);
  return values[0];
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
