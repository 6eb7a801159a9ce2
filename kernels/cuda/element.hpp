// What an array on the device holds. Kernels know no domain type: raw pointers, sizes, strides and a stream.
#pragma once

#include <cstddef>
#include <cstdint>

namespace baton::cuda {

enum class Element : std::uint8_t { f32, f16, bf16, e4m3 };

constexpr std::size_t size_of(Element element) {
  return element == Element::f32 ? 4 : element == Element::e4m3 ? 1 : 2;
}

}  // namespace baton::cuda
