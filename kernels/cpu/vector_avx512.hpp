// Vec, AVX-512 (F, BW, VL, DQ): sixteen floats.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BATON_ISA avx512

namespace baton::kernels {
inline namespace BATON_ISA {

inline constexpr int kLanes = 16;
inline constexpr int kRegisters = 32;
inline constexpr int kTileRows = 12;

struct Vec {
  __m512 raw;

  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec all(float x) { return {_mm512_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec load_bf16(const std::uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
  }
  static Vec load_f16(const std::uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  // As f16 with the exponent eight too small; the all-ones code is NaN.
  static Vec load_e4m3(const std::uint8_t* p) {
    const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi16(0x7F));
    const __m256i half = _mm256_or_si256(_mm256_slli_epi16(_mm256_sub_epi16(code, magnitude), 8),
                                         _mm256_slli_epi16(magnitude, 7));
    const __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0F));
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
    return {_mm512_mask_mov_ps(value, nan, _mm512_set1_ps(__builtin_nanf("")))};
  }
  // Without NaN, divided by 256. Sign-extended and shifted, a code is an f16 but for the bit below the sign.
  static Vec load_e4m3_part(const std::uint8_t* p) {
    const __m256i code = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(code, 7), _mm256_set1_epi16(~0x4000)))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, raw); }
  void store_n(float* p, std::int64_t n) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1), raw);
  }
};

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.raw, b.raw)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.raw, b.raw)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.raw, b.raw)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.raw, b.raw)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.raw, b.raw, c.raw)}; }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// The second operand where either is NaN. (The maskz forms: GCC 12 warns about the undefined source operand
// of the plain ones.)
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.raw, b.raw)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.raw, b.raw)}; }
inline Vec round(Vec x) {
  return {_mm512_roundscale_ps(x.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// x * 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) { return {_mm512_scalef_ps(x.raw, n.raw)}; }
// x where test >= bound or test is NaN, else 0.
inline Vec zero_below(Vec x, Vec test, Vec bound) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(test.raw, bound.raw, _CMP_NLT_UQ), x.raw)};
}
inline __m256 upper_half(Vec x) { return _mm512_extractf32x8_ps(x.raw, 1); }
inline float sum(Vec x) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x.raw), upper_half(x));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float maximum(Vec x) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(x.raw), upper_half(x));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
// 4x4 blocks within the 128-bit quarters first, then the quarters themselves.
inline void transpose(Vec (&rows)[kLanes]) {
  __m512 pair[16], quad[16];
  for (int i = 0; i < 16; i += 2) {
    pair[i] = _mm512_unpacklo_ps(rows[i].raw, rows[i + 1].raw);
    pair[i + 1] = _mm512_unpackhi_ps(rows[i].raw, rows[i + 1].raw);
  }
  for (int i = 0; i < 16; i += 4) {
    quad[i] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm512_shuffle_ps(pair[i], pair[i + 2], 0xEE);
    quad[i + 2] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm512_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {  // quad[i + 4 j]: column i of each quarter, rows 4 j ... 4 j + 3
    const __m512 low01 = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0x44);
    const __m512 high01 = _mm512_shuffle_f32x4(quad[i], quad[i + 4], 0xEE);
    const __m512 low23 = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0x44);
    const __m512 high23 = _mm512_shuffle_f32x4(quad[i + 8], quad[i + 12], 0xEE);
    rows[i].raw = _mm512_shuffle_f32x4(low01, low23, 0x88);
    rows[i + 4].raw = _mm512_shuffle_f32x4(low01, low23, 0xDD);
    rows[i + 8].raw = _mm512_shuffle_f32x4(high01, high23, 0x88);
    rows[i + 12].raw = _mm512_shuffle_f32x4(high01, high23, 0xDD);
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
