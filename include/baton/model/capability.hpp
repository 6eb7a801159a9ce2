// What Baton's engine runs: the one table. `baton serve` refuses the rest, `baton plan` does not recommend
// it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"
#include "baton/model/shape.hpp"
#include "baton/tensor/group.hpp"

namespace baton {

struct Capability {
  std::span<const std::string_view> architectures;
  std::span<const Precision> weights;
  int tensor = kMostRanks, pipeline = 1, data = 1;  // GPUs that one engine may span
};
const Capability& capability();
std::string supported_architectures();  // "A, B"

// An error that says what is missing where the engine cannot run `model` with weights stored as `weights`.
Result<void> runnable(const ModelShape& model, Precision weights);

// Whether `width` devices can share each layer: heads and FFNs are shared out evenly, a head is never cut.
// The error's field is that of config.json which `width` does not divide, or --tensor-parallel.
Result<void> shareable(const ModelShape& model, int width);

}  // namespace baton
