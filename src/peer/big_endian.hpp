// Fixed-width integers in network order, for the parts of the protocol that are not CBOR.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baton::peer {

template <std::unsigned_integral T>
void put_big_endian(T value, std::vector<std::byte>& out) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::byte>(static_cast<std::uint8_t>(value >> shift)));
  }
}

// `in` has at least sizeof(T) bytes.
template <std::unsigned_integral T>
T get_big_endian(std::span<const std::byte> in) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>(value << 8 | static_cast<std::uint8_t>(in[i]));
  return value;
}

}  // namespace baton::peer
