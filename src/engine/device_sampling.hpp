// A sequence's sampling parameters in the plain form that devices take.
#pragma once

#include <cstdint>
#include <span>

#include "baton/schedule/sequence.hpp"
#include "baton/tensor/sampling.hpp"

namespace baton {

// `mask` is what of its grammar the next token may be; empty: anything.
RowSampling row_sampling(const Sequence& sequence, std::span<const std::uint32_t> mask,
                         std::size_t ahead = 0);

}  // namespace baton
