// Whether a model's weights fit into the memory of what is to compute it.
#pragma once

#include <filesystem>

#include "baton/model/model.hpp"
#include "baton/tensor/group.hpp"

namespace baton {

// Before anything is read: the kernel would otherwise kill us half-way. Weights are kept packed, at their
// size, but for FP8 in blocks and for weights of 4 or 8 bits, which are expanded, and for what is quantised;
// other FP8 a GPU may expand, which shows only when it does.
Result<void> weights_fit(const std::filesystem::path& directory, OpsGroup& group, Quantization quantization);

}  // namespace baton
