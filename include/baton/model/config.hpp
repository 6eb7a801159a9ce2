// ModelConfig: what config.json and generation_config.json say, checked. One struct for every decoder family;
// a variant is a field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {

struct GenerationDefaults {
  std::vector<std::int32_t> eos_token_ids;
  std::optional<float> temperature, top_p, repetition_penalty;
  std::optional<std::int32_t> top_k;
};

// Experts instead of one FFN, in some layers or in all.
// What a checkpoint calls a layer's router ("<block><router>") and experts ("<block>experts.<n>.<gate>").
// With no name for `up`, a layer's experts are one tensor, "<block>experts.<gate>", in which gates and ups
// take turns, and one of `down`; they and the router have biases.
struct MixtureNames {
  const char* block = "mlp.";
  const char* router = "gate";
  const char* gate = "gate_proj";
  const char* up = "up_proj";
  const char* down = "down_proj";
  const char* shared = "shared_experts.";  // "<block><shared>gate_proj"
};

struct MixtureConfig {
  std::int32_t experts = 0;  // of a layer; 0: none
  std::int32_t per_token = 0;
  std::int32_t ffn = 0;  // of one expert
  bool renormalise = true;
  ExpertChoice::Scores scores = ExpertChoice::Scores::softmax;
  float factor = 1.0F;
  bool choice_bias = false;  // ExpertChoice::bias: "<block><router>.e_score_correction_bias"
  std::int32_t groups = 1, kept_groups = 1;
  std::int32_t shared_ffn = 0;             // of the FFN that every token passes beside its experts; 0: none
  std::int32_t every = 1;                  // layers every - 1, 2 * every - 1, ... have experts,
  std::vector<std::int32_t> dense_layers;  // but for these; ascending
  MixtureNames names;

  bool one_tensor() const { return names.up == nullptr; }
};

// Whether projections may be e4m3 with scales ("<name>.weight_scale"), and whether the checkpoint is made for
// activations that are rounded to e4m3 too.
enum class Fp8 : std::uint8_t { none, weights, products };
// Outputs and inputs that share a scale ("<name>.weight_scale_inv"); zero: scales are for a tensor or an
// output.
struct Fp8Blocks {
  std::int32_t out = 0;
  std::int32_t in = 0;
};

// Integers of 4 or 8 bits in words of 32, with scales and zero points for groups of inputs. Each kind has
// tensors of its own ("<name>.qweight", "<name>.weight_packed"); a projection that has "<name>.weight" was
// left whole.
struct PackedWeights {
  enum class Kind : std::uint8_t { none, awq, gptq, compressed } kind = Kind::none;
  std::int32_t bits = 4;
  std::int32_t group = 0;       // inputs that share a scale; 0: all of an output's
  bool symmetric = false;       // compressed: has no zero points
  bool inputs_ordered = false;  // every input names its group
  bool zeros_less_one = false;  // gptq: as its first version stored them
  bool operator==(const PackedWeights&) const = default;
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::int32_t hidden = 0;
  std::int32_t layers = 0;
  std::int32_t query_heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t ffn = 0;
  std::int32_t vocab = 0;
  std::int32_t max_positions = 0;             // the context length, rope scaling included
  std::int32_t window = 0;                    // positions that windowed_layers attend to; 0: there are none
  std::vector<std::int32_t> windowed_layers;  // ascending
  float norm_epsilon = 1e-5F;                 // of norms of heads and of what is added to the residual stream
  float stream_epsilon = 1e-5F;               // of norms of the residual stream
  float norm_offset = 0.0F;                   // what is added to the weights of norms
  bool added_norms = false;                   // of what attention and FFN add to the residual stream
  bool tied_embeddings = false;
  bool attention_bias = false;         // of q, k and v
  bool attention_output_bias = false;  // of o
  bool head_norms = false;             // of q and k, before the rotation
  bool fused = false;                  // q, k and v are one tensor of the checkpoint, and so are gate and up
  std::int32_t rotary_dim = 0;         // the first elements of a head, which are rotated; head_dim: all
  std::vector<std::int32_t> unrotated_layers;  // whose heads are not rotated at all; ascending
  bool mlp_bias = false;
  Activation activation = Activation::silu;
  bool sinks = false;             // each head has a score without a value
  float residual_factor = 1.0F;   // of what attention and FFN add to the residual stream
  float logits_factor = 1.0F;     // of the logits
  float attention_factor = 0.0F;  // of the scores; 0: 1 / sqrt(head_dim)
  MixtureConfig mixture;
  Fp8 fp8 = Fp8::none;
  Fp8Blocks fp8_blocks;
  PackedWeights packed;
  DType weights = DType::bf16;
  RopeTable rope;
  RopeTable window_rope;  // of windowed_layers, where they have one of their own; else empty
  std::optional<std::int32_t> bos_token_id;
  GenerationDefaults generation;

  bool has_experts(std::int32_t layer) const;
};

// From a Hugging Face directory. Errors name the key of config.json; unknown architectures are unsupported
// with the list of what is. `max_context`: no sequence will be longer, 0: than the model's context; a model
// with rotary embeddings for short and for long contexts (LongRoPE) gets those that it needs for it.
Result<ModelConfig> load_model_config(const std::filesystem::path& directory, std::int32_t max_context = 0);
Result<ModelConfig> parse_model_config(std::string_view config_json, std::string_view generation_config_json,
                                       std::int32_t max_context = 0);

}  // namespace baton
