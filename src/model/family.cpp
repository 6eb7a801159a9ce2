#include "model/family.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace baton {
namespace {

constexpr MixtureFamily kMixtral{{"block_sparse_moe.", "gate", "w1", "w3", "w2"}, false};
constexpr MixtureFamily kQwenMoe{{}, true};
constexpr MixtureFamily kGlm{{}, true, true};
constexpr MixtureFamily kGptOss{
    {.router = "router", .gate = "gate_up_proj", .up = nullptr, .down = "down_proj"}, false};

constexpr const char* kGemma3 = R"({"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
  "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
  "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
  "query_pre_attn_scalar": 256, "sliding_window": 4096, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
  "eos_token_id": 1, "bos_token_id": 2})";
constexpr const char* kGptOssDefaults = R"({"sliding_window": 128, "rope_theta": 150000, "rms_norm_eps": 1e-5,
  "attention_bias": true, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "yarn", "factor": 32,
  "beta_fast": 32, "beta_slow": 1, "truncate": false, "original_max_position_embeddings": 4096}})";
constexpr const char* kGlm4Moe =
    R"({"partial_rotary_factor": 0.5, "norm_topk_prob": true, "rms_norm_eps": 1e-5,
  "max_position_embeddings": 131072})";

constexpr Family kFamilies[] = {
    {.architecture = "Gemma3ForCausalLM",
     .attention = Family::Bias::asked,
     .head_norms = true,
     .window = Family::Window::patterned,
     .pattern = 6,
     .tied = true,
     .gemma = true,
     .activation = Activation::gelu,
     .defaults = kGemma3},
    {.architecture = "Glm4MoeForCausalLM",
     .attention = Family::Bias::asked_inputs,
     .asked_head_norms = true,
     .mixture = &kGlm,
     .partial_rotary = true,
     .defaults = kGlm4Moe},
    {.architecture = "GptOssForCausalLM",
     .attention = Family::Bias::asked,
     .window = Family::Window::patterned,
     .pattern = 2,
     .mixture = &kGptOss,
     .sinks = true,
     .activation = Activation::clamped_silu,
     .defaults = kGptOssDefaults},
    {.architecture = "GraniteForCausalLM",
     .attention = Family::Bias::asked,
     .mlp_bias = true,
     .multipliers = true},
    {.architecture = "LlamaForCausalLM", .attention = Family::Bias::asked, .mlp_bias = true},
    {.architecture = "MistralForCausalLM",
     .window = Family::Window::everywhere,
     .defaults = R"({"sliding_window": 4096, "max_position_embeddings": 131072})"},
    {.architecture = "MixtralForCausalLM", .window = Family::Window::everywhere, .mixture = &kMixtral},
    {.architecture = "Phi3ForCausalLM",
     .window = Family::Window::everywhere,
     .fused = true,
     .partial_rotary = true},
    {.architecture = "Qwen2ForCausalLM",
     .attention = Family::Bias::inputs,
     .window = Family::Window::asked_above},
    {.architecture = "Qwen3ForCausalLM",
     .attention = Family::Bias::asked,
     .head_norms = true,
     .window = Family::Window::asked_above},
    {.architecture = "Qwen3MoeForCausalLM",
     .attention = Family::Bias::asked,
     .head_norms = true,
     .window = Family::Window::asked,
     .mixture = &kQwenMoe},
    {.architecture = "SeedOssForCausalLM", .attention = Family::Bias::asked_apart, .mlp_bias = true},
    {.architecture = "SmolLM3ForCausalLM",
     .attention = Family::Bias::asked,
     .mlp_bias = true,
     .window = Family::Window::asked_unrotated,
     .skips_rotary = true,
     .tied = true},
};

// Models that also see, whose language model is another family's. Their config.json has it in text_config.
struct Seeing {
  std::string_view architecture, language, model_type;  // of text_config
};
constexpr Seeing kSeeing[] = {
    {"Gemma3ForConditionalGeneration", "Gemma3ForCausalLM", "gemma3_text"},
    {"Mistral3ForConditionalGeneration", "MistralForCausalLM", "mistral"},
};

// The class that config.json names, or nothing.
std::string architecture_of(const nlohmann::json& config) {
  const auto list = config.find("architectures");
  if (list == config.end() || !list->is_array() || list->empty() || !list->front().is_string()) return {};
  return list->front().get<std::string>();
}

// All ids of two values, each an id or a list of them; ascending.
nlohmann::json all_ids(const nlohmann::json& one, const nlohmann::json& other) {
  nlohmann::json all = nlohmann::json::array();
  for (const nlohmann::json* value : {&one, &other}) {
    if (value->is_array())
      all.insert(all.end(), value->begin(), value->end());
    else
      all.push_back(*value);
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// text_config's keys become the file's. Where both levels say something, text_config is right, but for what
// generates: all tokens that end an answer do, and embeddings are the head's where either level says so (a
// head of its own in the checkpoint is used all the same).
void take_in(const nlohmann::json& inner, nlohmann::json& config) {
  for (const auto& [key, value] : inner.items()) {
    const auto outer = config.find(key);
    const bool both = outer != config.end() && !outer->is_null();
    if (key == "architectures" || (both && value.is_null())) continue;
    if (both && key == "eos_token_id")
      config[key] = all_ids(*outer, value);
    else if (!both || key != "tie_word_embeddings" || value == true)
      config[key] = value;
  }
}

}  // namespace

std::span<const std::string_view> architectures() {
  static const auto kAll = [] {
    std::vector<std::string_view> all;
    for (const Family& family : kFamilies) all.push_back(family.architecture);
    for (const Seeing& seeing : kSeeing) all.push_back(seeing.architecture);
    std::ranges::sort(all);
    return all;
  }();
  return kAll;
}

const Family* find_family(std::string_view architecture) {
  const auto* const found = std::ranges::find(kFamilies, architecture, &Family::architecture);
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string language_architecture(std::string_view architecture, bool& headless) {
  constexpr std::string_view kBare = "Model";
  for (const Seeing& seeing : kSeeing)
    if (seeing.architecture == architecture) return std::string(seeing.language);
  headless = architecture.ends_with(kBare);
  if (headless) architecture.remove_suffix(kBare.size());
  return std::string(architecture) + (headless ? "ForCausalLM" : "");
}

nlohmann::json language_config(nlohmann::json config) {
  const std::string architecture = architecture_of(config);
  if (const auto text = config.find("text_config"); text != config.end() && text->is_object()) {
    const nlohmann::json inner = *text;
    take_in(inner, config);
    // Another language model than the one that this class usually has.
    const auto type = inner.find("model_type");
    const auto* const seeing = std::ranges::find(kSeeing, architecture, &Seeing::architecture);
    if (seeing != std::end(kSeeing) && (type == inner.end() || *type != std::string(seeing->model_type)))
      config["architectures"] = {architecture + " with another text_config.model_type than " +
                                 std::string(seeing->model_type)};
  }
  bool headless = false;
  const Family* family = find_family(language_architecture(architecture, headless));
  if (family == nullptr || family->defaults == nullptr) return config;
  const nlohmann::json defaults = nlohmann::json::parse(family->defaults);
  for (const auto& [key, value] : defaults.items()) {
    const bool said = config.contains(key) || (key == "rope_scaling" && config.contains("rope_parameters"));
    if (!said) config[key] = value;
  }
  return config;
}

}  // namespace baton
