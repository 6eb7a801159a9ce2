// config.json's rotary embedding: the two spellings, `rope_scaling` (with rope_theta beside it) and
// `rope_parameters` (with it inside), of one table or of one for each kind of layer.
#pragma once

#include "baton/model/config.hpp"
#include "model/family.hpp"
#include "model/json_reader.hpp"

namespace baton {

// Into model.rotary_dim, rope, window_rope and max_positions; head_dim is known. `max_context` as for
// parse_model_config.
void read_rope(JsonReader& config, const Family& family, std::int32_t max_context, ModelConfig& model);

}  // namespace baton
