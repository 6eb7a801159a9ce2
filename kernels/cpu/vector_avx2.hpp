// Vec, AVX2 + FMA + F16C: eight floats.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BATON_ISA avx2

namespace baton::kernels {
inline namespace BATON_ISA {

inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 16;
inline constexpr int kTileRows = 6;

struct Vec {
  __m256 raw;

  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec all(float x) { return {_mm256_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vec load_bf16(const std::uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16))};
  }
  static Vec load_f16(const std::uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  // As f16 with the exponent eight too small; the all-ones code is NaN.
  static Vec load_e4m3(const std::uint8_t* p) {
    const __m128i code = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m128i magnitude = _mm_and_si128(code, _mm_set1_epi16(0x7F));
    const __m128i half =
        _mm_or_si128(_mm_slli_epi16(_mm_sub_epi16(code, magnitude), 8), _mm_slli_epi16(magnitude, 7));
    const __m256 value = _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0F));
    const __m256i nan = _mm256_cvtepi16_epi32(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)));
    return {_mm256_blendv_ps(value, _mm256_set1_ps(__builtin_nanf("")), _mm256_castsi256_ps(nan))};
  }
  // Without NaN, divided by 256. Sign-extended and shifted, a code is an f16 but for the bit below the sign.
  static Vec load_e4m3_part(const std::uint8_t* p) {
    const __m128i code = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(code, 7), _mm_set1_epi16(~0x4000)))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, raw); }
  void store_n(float* p, std::int64_t n) const {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), raw);
  }
};

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.raw, b.raw)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.raw, b.raw)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.raw, b.raw)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.raw, b.raw, c.raw)}; }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// The second operand where either is NaN.
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.raw, b.raw)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.raw, b.raw)}; }
inline Vec round(Vec x) { return {_mm256_round_ps(x.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// x * 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.raw), _mm256_set1_epi32(127));
  return {_mm256_mul_ps(x.raw, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
}
// x where test >= bound or test is NaN, else 0.
inline Vec zero_below(Vec x, Vec test, Vec bound) {
  return {_mm256_and_ps(x.raw, _mm256_cmp_ps(test.raw, bound.raw, _CMP_NLT_UQ))};
}
inline float sum(Vec x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x.raw), _mm256_extractf128_ps(x.raw, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float maximum(Vec x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x.raw), _mm256_extractf128_ps(x.raw, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline void transpose(Vec (&rows)[kLanes]) {
  __m256 pair[8], quad[8];
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(rows[i].raw, rows[i + 1].raw);
    pair[i + 1] = _mm256_unpackhi_ps(rows[i].raw, rows[i + 1].raw);
  }
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xEE);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i].raw = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
    rows[i + 4].raw = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
