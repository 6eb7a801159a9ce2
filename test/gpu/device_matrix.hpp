// A matrix of any element on the host and on the device, with columns to spare and any alignment.
#pragma once

#include <cstring>
#include <random>

#include "device_array.hpp"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/rows.hpp"

namespace baton::gpu {

using cuda::Element;

template <class T>
void encode_as(float value, std::byte* to) {
  const T element(value);
  std::memcpy(to, &element, sizeof(T));
}
template <class T>
float decode_as(const std::byte* from) {
  T element;
  std::memcpy(&element, from, sizeof(T));
  return static_cast<float>(element);
}

inline void encode(Element element, float value, std::byte* to) {
  switch (element) {
    case Element::f32:
      return encode_as<float>(value, to);
    case Element::f16:
      return encode_as<cuda::f16>(value, to);
    case Element::bf16:
      return encode_as<cuda::bf16>(value, to);
    case Element::e4m3:
      return encode_as<cuda::e4m3>(value, to);
  }
}
inline float decode(Element element, const std::byte* from) {
  switch (element) {
    case Element::f32:
      return decode_as<float>(from);
    case Element::f16:
      return decode_as<cuda::f16>(from);
    case Element::bf16:
      return decode_as<cuda::bf16>(from);
    case Element::e4m3:
      return decode_as<cuda::e4m3>(from);
  }
  return 0;
}

inline const char* name_of(Element element) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "e4m3"};
  return kNames[static_cast<int>(element)];
}

// By how much a result may differ from the exact one: relative, and absolute near zero.
struct Tolerance {
  double relative, absolute;
  bool holds(double got, double want) const {
    return std::abs(got - want) <= relative * std::abs(want) + absolute;  // false for NaN
  }
};
inline Tolerance rounding_of(Element element) {
  switch (element) {
    case Element::f32:
      return {2e-6, 1e-7};
    case Element::f16:
      return {0x1p-11 * 1.02, 1e-6};
    case Element::bf16:
      return {0x1p-8 * 1.02, 1e-6};
    case Element::e4m3:
      return {0x1p-4 * 1.02, 0x1p-9};
  }
  return {};
}

inline float random_float(std::mt19937& engine, float width) {
  return (static_cast<float>(engine() >> 8) * 0x1p-23F - 1.0F) * width;
}

class Matrix {
 public:
  // `spare` columns between rows, `shift` elements before the first.
  Matrix(Element element, std::int32_t rows, std::int32_t cols, std::int32_t spare = 0,
         std::int32_t shift = 0)
      : element_(element),
        rows_(rows),
        cols_(cols),
        stride_(cols + spare),
        shift_(shift),
        host_((static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride_) +
               static_cast<std::size_t>(shift)) *
                  size_of(element),
              std::byte{0xff}),
        device_(host_.size()) {}

  void set(std::int32_t r, std::int32_t c, float value) { encode(element_, value, host_.data() + at(r, c)); }
  float get(std::int32_t r, std::int32_t c) const { return decode(element_, host_.data() + at(r, c)); }
  std::vector<float> floats() const {  // [rows, cols]
    std::vector<float> made;
    for (std::int32_t r = 0; r < rows_; ++r)
      for (std::int32_t c = 0; c < cols_; ++c) made.push_back(get(r, c));
    return made;
  }
  const std::byte* bytes(std::int32_t r, std::int32_t c) const { return host_.data() + at(r, c); }

  Matrix& randomise(std::mt19937& engine, float width) {
    for (std::int32_t r = 0; r < rows_; ++r)
      for (std::int32_t c = 0; c < cols_; ++c) set(r, c, random_float(engine, width));
    upload();
    return *this;
  }
  void upload() { device_.assign(host_); }
  void download() { host_ = device_.values(); }

  // Whether what lies between the rows is as it was made.
  bool spare_untouched() const {
    for (std::int32_t r = 0; r < rows_; ++r)
      for (std::size_t i = at(r, cols_); i < at(r, 0) + static_cast<std::size_t>(stride_) * size_of(element_);
           ++i)
        if (host_[i] != std::byte{0xff}) return false;
    return true;
  }

  cuda::Rows view() const {
    return {device_.data() + static_cast<std::size_t>(shift_) * size_of(element_), stride_, rows_, cols_,
            element_};
  }
  Element element() const { return element_; }
  std::int32_t rows() const { return rows_; }
  std::int32_t cols() const { return cols_; }

 private:
  std::size_t at(std::int32_t r, std::int32_t c) const {
    return (static_cast<std::size_t>(shift_) +
            static_cast<std::size_t>(r) * static_cast<std::size_t>(stride_) + static_cast<std::size_t>(c)) *
           size_of(element_);
  }

  Element element_;
  std::int32_t rows_, cols_, stride_, shift_;
  std::vector<std::byte> host_;
  DeviceArray<std::byte> device_;
};

}  // namespace baton::gpu
