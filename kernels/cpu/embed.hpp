// embed: one output of a packed weight, read back as a row of f32.
#pragma once

#include "kernels/cpu/pack.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

inline void embed(const EmbedArgs& args) {
  with_element(args.type, [&]<Element E>() {
    const int64_t group = args.token / kGroup;
    const auto* column = static_cast<const typename Stored<E>::Type*>(args.weight) +
                         group * args.in * kGroup + args.token % kGroup;
    for (int64_t k = 0; k < args.in; ++k) args.y[k] = load_one<E>(column + k * kGroup);
  });
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
