// A small config.json to change and to parse.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "baton/model/config.hpp"

namespace baton::test {

inline nlohmann::json base_config() {
  return nlohmann::json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8,
    "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    "torch_dtype": "float32", "some_key_of_tomorrow": {"a": [1, 2]}, "head_dim": null
  })");
}

inline Result<ModelConfig> parse(const nlohmann::json& config, const std::string& generation = {}) {
  return parse_model_config(config.dump(), generation);
}

inline nlohmann::json patched(const char* patch) {
  nlohmann::json config = base_config();
  config.merge_patch(nlohmann::json::parse(patch));
  return config;
}

}  // namespace baton::test
