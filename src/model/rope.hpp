// Rotary-embedding scaling: from config.json's rope keys to the table that Ops::prepare_rope takes.
//
// The arithmetic follows Hugging Face transformers (modeling_rope_utils), in float32 and in its order of
// operations, because the published models were trained with exactly those roundings. The one departure is
// "dynamic" (docs/decisions/0002-dynamic-ntk.md).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "baton/tensor/ops.hpp"

namespace baton {

enum class RopeType : std::uint8_t { none, linear, dynamic, yarn, llama3, longrope };

struct RopeScaling {
  RopeType type = RopeType::none;
  double theta = 10000.0;
  double factor = 1.0;
  std::int32_t original_max_positions = 0;  // the length that the model was first trained with
  double low_freq_factor = 1.0;             // llama3
  double high_freq_factor = 4.0;            // llama3
  double beta_fast = 32.0;                  // yarn
  double beta_slow = 1.0;                   // yarn
  bool length_is_scaled = false;            // linear: max_position_embeddings is the scaled length, too
  bool truncate = true;                     // yarn: round the ramp's ends outwards
  std::optional<double> attention_factor;   // yarn; computed from factor where absent
  double mscale = 0.0;                      // yarn; 0: absent
  double mscale_all_dim = 0.0;              // yarn; 0: absent
  std::vector<float> divisors;              // longrope: of each pair's frequency
};

// The context length with scaling: `max_position_embeddings` is the scaled length for llama3 and, unless
// length_is_scaled, the unscaled one for linear and dynamic; yarn scales the original length. In double: the
// caller checks the bound.
double scaled_context_length(const RopeScaling& scaling, std::int32_t max_position_embeddings);

// head_dim is even, and above 2 for dynamic; theta > 1; factor >= 1. Of partly rotated heads it is the
// rotated part, and the table has frequencies of zero for the rest of a head of `whole_head`.
RopeTable make_rope_table(const RopeScaling& scaling, std::int32_t head_dim,
                          std::int32_t max_position_embeddings, std::int32_t whole_head = 0);

// Of heads whose first `rotary` of `head_dim` elements are rotated, in pairs of i and i + rotary / 2: the
// order of the elements in which all pairs are i and i + head_dim / 2. Dot products of heads do not depend on
// the order. Both are even.
std::vector<std::int32_t> rotary_order(std::int32_t head_dim, std::int32_t rotary);

}  // namespace baton
