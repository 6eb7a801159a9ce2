// pack: rows of a checkpoint's [out, in] matrix become columns of one packed group, element type unchanged.
#pragma once

#include "kernels/cpu/vector.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

// Eight vectors to a group: enough independent chains for one row to saturate both FMA units.
inline constexpr int64_t kGroup = 8 * kLanes;

template <class T>
inline void pack_elements(const PackArgs& args) {
  constexpr int64_t kBlock = 64;  // of k: source lines and the destination's block stay in L1
  T* group = static_cast<T*>(args.group) + args.first_column;
  const char* rows = static_cast<const char*>(args.rows);
  for (int64_t k0 = 0; k0 < args.in; k0 += kBlock) {
    const int64_t k1 = least(k0 + kBlock, args.in);
    for (int64_t c = 0; c < args.columns; ++c) {
      const char* row = rows + c * args.in * static_cast<int64_t>(sizeof(T));
      for (int64_t k = k0; k < k1; ++k) {
        __builtin_memcpy(group + k * kGroup + c, row + k * static_cast<int64_t>(sizeof(T)), sizeof(T));
      }
    }
  }
}

inline void pack(const PackArgs& args) {
  if (args.type == Element::f32) {
    pack_elements<std::uint32_t>(args);
  } else if (bytes_of(args.type) == 1) {
    pack_elements<std::uint8_t>(args);
  } else {
    pack_elements<std::uint16_t>(args);
  }
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
