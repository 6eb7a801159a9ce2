// Values in lanes: those of 8, 16 and 32 bits lie in lanes of 4 bytes, those of 64 in lanes of 8.
#pragma once

#include <type_traits>

#include "machine.hpp"

namespace baton::emulator {

template <class T>
using Slot = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

template <class T>
T unpack(Slot<T> bits) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<T>(bits);
  } else {
    return static_cast<T>(bits);
  }
}
template <class T>
Slot<T> pack(T value) {
  if constexpr (sizeof(T) == sizeof(Slot<T>)) {
    return std::bit_cast<Slot<T>>(value);
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

}  // namespace baton::emulator
