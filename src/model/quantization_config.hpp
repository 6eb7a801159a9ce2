// config.json's quantization_config: how a checkpoint's projections are stored, in the words of each tool
// that writes such checkpoints.
#pragma once

#include "baton/model/config.hpp"
#include "model/json_reader.hpp"

namespace baton {

// Into model.fp8, model.fp8_blocks or model.packed. What is not known to mean what we do with it is
// `unsupported`, by its key: a wrong guess would be a model that answers nonsense.
void read_quantization(JsonReader& config, ModelConfig& model);

}  // namespace baton
