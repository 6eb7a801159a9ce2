// A sequence's sampling parameters in the plain form that devices take.
#pragma once

#include "baton/schedule/sequence.hpp"
#include "baton/tensor/sampling.hpp"

namespace baton {

RowSampling row_sampling(const Sequence& sequence);

}  // namespace baton
