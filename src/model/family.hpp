// What the code of each family of decoders fixes, or asks config.json for, as in Hugging Face's modeling and
// configuration files.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "baton/model/config.hpp"
#include "model/json_reader.hpp"

namespace baton {

// A mixture's experts: every layer's, of the model's own FFN size, as Mixtral has them, or as config.json
// says.
struct MixtureFamily {
  MixtureNames names;
  bool as_asked = false;
  bool deepseek = false;  // in DeepSeek V3's words: shared experts, sigmoid scores with a bias, groups
};

struct Family {
  enum class Bias : std::uint8_t {
    never,
    inputs,        // of q, k and v
    asked,         // by attention_bias
    asked_inputs,  // by attention_bias, of q, k and v
    asked_apart,   // by attention_bias, and of o by attention_out_bias
  };
  // Which layers attend to sliding_window positions only, unless layer_types says it.
  enum class Window : std::uint8_t {
    never,
    everywhere,       // unless it is null
    asked,            // by use_sliding_window, everywhere
    asked_above,      // likewise, from layer max_window_layers on
    asked_unrotated,  // likewise, those that skip the rotation
    patterned,        // all but every `pattern`th
  };

  std::string_view architecture;
  Bias attention = Bias::never;
  bool mlp_bias = false;          // may be asked for
  bool head_norms = false;        // of q and k
  bool asked_head_norms = false;  // by use_qk_norm
  Window window = Window::never;
  std::int32_t pattern = 0;                // of sliding_window_pattern, which may say another
  const MixtureFamily* mixture = nullptr;  // or none
  bool fused = false;                      // q, k and v, and gate and up, are one tensor each
  bool partial_rotary = false;             // may be asked for
  bool skips_rotary = false;               // in some layers
  bool multipliers = false;                // of embeddings, residuals, scores and logits
  bool tied = false;                       // embeddings and output, unless config.json says otherwise
  bool sinks = false;                      // scores without a value, one for each head
  bool gemma = false;                      // scaled embeddings, norms around attention and FFN, of weight + 1
  Activation activation = Activation::silu;
  const char* defaults = nullptr;  // JSON: what config.json may leave out
};

// Every class of config.json that loads, in alphabetical order.
std::span<const std::string_view> architectures();

// Of a language model's class; null for an unknown one.
const Family* find_family(std::string_view architecture);

// The name of the language model that is computed: of a model that also sees, and of one that was saved
// without its head ("Qwen3Model": then `headless`).
std::string language_architecture(std::string_view architecture, bool& headless);

// config.json as if a model that also sees were its language model alone, with what its family's code adds
// where the file is silent.
nlohmann::json language_config(nlohmann::json config);

}  // namespace baton
