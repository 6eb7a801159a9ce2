// What cuTensorMapEncodeTiled writes into the 128 bytes of a CUtensorMap here.
#pragma once

#include <array>
#include <cstdint>

namespace baton::emulator {

struct TensorMap {
  static constexpr std::uint32_t kMagic = 0x7e45a9b1;
  std::uint32_t magic = kMagic;
  std::uint32_t rank = 0;
  std::uint64_t base = 0;
  std::array<std::uint64_t, 4> sizes{};    // elements, innermost first
  std::array<std::uint64_t, 4> strides{};  // bytes; of the innermost: the element's
  std::array<std::uint32_t, 4> box{};
  std::uint32_t element = 0;
  bool swizzle_128 = false;
};
static_assert(sizeof(TensorMap) <= 128);

}  // namespace baton::emulator
