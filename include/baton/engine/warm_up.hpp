// warm_up: the largest steps an engine may run, once, before the KV cache takes what memory is left: so the
// workspace has its size, kernels are loaded, and what a GPU has free afterwards is free.
#pragma once

#include <cstdint>

#include "baton/model/model.hpp"

namespace baton {

// A prefill step of `rows` rows and decode steps of 1 and of `sequences` sequences, on a small KV cache of
// its own. out_of_memory or unavailable where the device cannot. `width`: of the group whose rank 0 `ops` is.
Result<void> warm_up(Model& model, Ops& ops, const KvSpec& spec, std::int32_t rows, std::int32_t sequences,
                     std::int32_t width = 1);

}  // namespace baton
