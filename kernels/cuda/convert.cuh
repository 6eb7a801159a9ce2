// Element conversions. Sixteen bytes at a time is how arrays are read and written.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda/element.hpp"

namespace baton::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;
using e4m3 = __nv_fp8_e4m3;

template <class T>
__device__ __forceinline__ float to_float(T value) {
  return static_cast<float>(value);
}
template <>
__device__ __forceinline__ float to_float<bf16>(bf16 value) {
  return __bfloat162float(value);
}
template <>
__device__ __forceinline__ float to_float<f16>(f16 value) {
  return __half2float(value);
}

// Rounds to nearest even; e4m3 saturates at ±448.
template <class T>
__device__ __forceinline__ T from_float(float value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float value) {
  return __float2half_rn(value);
}

// N elements that are read or written as one.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

template <class T>
inline constexpr int kPerLoad = 16 / static_cast<int>(sizeof(T));

template <class T>
struct ElementOf;
template <>
struct ElementOf<float> {
  static constexpr Element value = Element::f32;
};
template <>
struct ElementOf<f16> {
  static constexpr Element value = Element::f16;
};
template <>
struct ElementOf<bf16> {
  static constexpr Element value = Element::bf16;
};
template <>
struct ElementOf<e4m3> {
  static constexpr Element value = Element::e4m3;
};

}  // namespace baton::cuda
