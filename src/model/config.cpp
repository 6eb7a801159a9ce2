// Reads config.json and generation_config.json into a ModelConfig.
//
// Invariant of what it returns: every dimension is positive and so bounded that no product of a tensor's
// dimensions overflows 64 bits, heads divide, head_dim is even, and every token id lies in the vocabulary.
// Keys that we do not know are ignored: Hugging Face's files are full of them. Keys that we know to change
// the arithmetic in a way that we do not do are `unsupported`.
#include "baton/model/config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>

#include "baton/model/capability.hpp"
#include "baton/tensor/convert.hpp"
#include "model/family.hpp"
#include "model/json_reader.hpp"
#include "model/quantization_config.hpp"
#include "model/rope_config.hpp"

namespace baton {
namespace {

constexpr const char* kConfigFile = "config.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr std::size_t kMaxConfigBytes = 16U << 20;

// Far above any published model, far below what could overflow.
constexpr IntegerRange kHiddenRange{1, 1 << 17};
constexpr IntegerRange kLayersRange{1, 1024};
constexpr IntegerRange kHeadsRange{1, 1024};
constexpr IntegerRange kHeadDimRange{2, 1024};
constexpr IntegerRange kFfnRange{1, 1 << 20};
constexpr IntegerRange kVocabRange{1, 1 << 22};

// The family's name, "Qwen3ForCausalLM", also of a model without its head, whose embeddings then do for one.
std::string read_architecture(JsonReader& config, bool& headless) {
  const nlohmann::json* list = config.find("architectures");
  if (!list || !list->is_array() || list->empty() || !list->front().is_string()) {
    config.fail(ErrorCode::invalid_argument, "architectures",
                "must be a list with the model's class; supported: " + supported_architectures());
    return {};
  }
  auto name = language_architecture(list->front().get_ref<const std::string&>(), headless);
  if (find_family(name) != nullptr) return name;
  config.fail(ErrorCode::unsupported, "architectures",
              "names " + list->front().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                  ", which is not supported; supported: " + supported_architectures());
  return {};
}

DType read_dtype(JsonReader& config) {
  const std::string_view key = config.find("dtype") ? "dtype" : "torch_dtype";
  const std::string name = config.text(key, "bfloat16");
  if (name == "float32") return DType::f32;
  if (name == "float16") return DType::f16;
  if (name != "bfloat16")
    config.fail(ErrorCode::unsupported, key,
                "is '" + name + "'; supported: float32, float16 and bfloat16 weights");
  return DType::bf16;
}

void read_dimensions(JsonReader& config, ModelConfig& model) {
  model.hidden = config.integer("hidden_size", kHiddenRange);
  model.layers = config.integer("num_hidden_layers", kLayersRange);
  model.query_heads = config.integer("num_attention_heads", kHeadsRange);
  model.kv_heads = config.integer("num_key_value_heads", kHeadsRange, model.query_heads);
  model.ffn = config.integer("intermediate_size", kFfnRange);
  model.vocab = config.integer("vocab_size", kVocabRange);
  if (model.query_heads % model.kv_heads != 0)
    config.fail(ErrorCode::invalid_argument, "num_key_value_heads",
                "is " + std::to_string(model.kv_heads) + ", which does not divide num_attention_heads (" +
                    std::to_string(model.query_heads) + ")");
  if (config.find("head_dim")) {
    model.head_dim = config.integer("head_dim", kHeadDimRange);
  } else {
    model.head_dim = model.hidden / model.query_heads;
    if (model.hidden % model.query_heads != 0)
      config.fail(ErrorCode::invalid_argument, "num_attention_heads",
                  "is " + std::to_string(model.query_heads) + ", which does not divide hidden_size (" +
                      std::to_string(model.hidden) + "), and there is no head_dim");
    else if (model.head_dim < kHeadDimRange.minimum || model.head_dim > kHeadDimRange.maximum)
      config.fail(ErrorCode::invalid_argument, "num_attention_heads",
                  "gives a head_dim of " + std::to_string(model.head_dim) + ", must be from 2 to 1024");
  }
  if (model.head_dim % 2 != 0)
    config.fail(ErrorCode::invalid_argument, "head_dim",
                "is " + std::to_string(model.head_dim) + ", must be even for rotary embedding");
}

void refuse_what_we_do_not_do(JsonReader& config, const Family& family) {
  const bool gelu = family.activation == Activation::gelu;
  const std::string_view key = config.find("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string wanted = gelu ? "gelu_pytorch_tanh" : "silu", act = config.text(key, wanted);
  if (act != wanted) config.fail(ErrorCode::unsupported, key, "is '" + act + "'; supported: " + wanted);
  if (family.activation == Activation::clamped_silu) {
    constexpr NumberRange kAny{0, 1e6};
    for (const auto& [name, value] :
         {std::pair{"swiglu_limit", kClampedSiluLimit}, std::pair{"swiglu_alpha", kClampedSiluSlope}})
      if (static_cast<float>(config.number(name, kAny, static_cast<double>(value))) != value)
        config.fail(ErrorCode::unsupported, name, "is not " + std::to_string(value));
  }
  if (!family.gemma) return;
  for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping"})
    if (config.find(name)) config.fail(ErrorCode::unsupported, name, "is set; supported: null");
  if (const nlohmann::json* both = config.find("use_bidirectional_attention"); both && *both != false)
    config.fail(ErrorCode::unsupported, "use_bidirectional_attention",
                "is not false; supported: causal attention");
}

void read_biases(JsonReader& config, const Family& family, ModelConfig& model) {
  const bool apart = family.attention == Family::Bias::asked_apart;
  const bool inputs = family.attention == Family::Bias::asked_inputs;
  const bool asked =
      (family.attention == Family::Bias::asked || apart || inputs) && config.boolean("attention_bias", apart);
  model.attention_bias = asked || family.attention == Family::Bias::inputs;
  model.attention_output_bias = apart ? config.boolean("attention_out_bias", false) : asked && !inputs;
  model.mlp_bias = family.mlp_bias && config.boolean("mlp_bias", false);
}

// Which layers have a window by themselves, where layer_types is silent.
bool slides(const Family& family, const ModelConfig& model, std::int32_t layer, std::int32_t from,
            std::int32_t pattern) {
  switch (family.window) {
    case Family::Window::never:
      return false;
    case Family::Window::everywhere:
    case Family::Window::asked:
      return true;
    case Family::Window::asked_above:
      return layer >= from;
    case Family::Window::asked_unrotated:
      return std::ranges::binary_search(model.unrotated_layers, layer);
    case Family::Window::patterned:
      return (layer + 1) % pattern != 0;
  }
  return false;
}

// layer_types: "sliding_attention" or "full_attention" for each layer. Null where there is no such list.
const nlohmann::json* read_layer_types(JsonReader& config, std::int32_t layers) {
  const nlohmann::json* types = config.find("layer_types");
  if (!types) return nullptr;
  if (!types->is_array() || types->size() != static_cast<std::size_t>(layers)) {
    config.fail(ErrorCode::invalid_argument, "layer_types",
                "must be a list of " + std::to_string(layers) + " names");
    return nullptr;
  }
  for (const nlohmann::json& type : *types)
    if (type != "full_attention" && type != "sliding_attention")
      config.fail(ErrorCode::unsupported, "layer_types",
                  "names other than full_attention and sliding_attention");
  return types;
}

void read_windows(JsonReader& config, const Family& family, ModelConfig& model) {
  using Window = Family::Window;
  if (family.window == Window::never) return;
  const nlohmann::json* types = read_layer_types(config, model.layers);
  const bool always = family.window == Window::everywhere || family.window == Window::patterned;
  const bool asked = always || config.boolean("use_sliding_window", false);
  const std::int32_t from = config.integer("max_window_layers", {0, kLayersRange.maximum}, 28);
  const std::int32_t pattern =
      config.integer("sliding_window_pattern", kLayersRange, std::max(1, family.pattern));
  const auto window = config.optional_integer("sliding_window", {0, INT32_MAX});
  // One that no sequence outgrows is none, unless those layers have another rotation.
  const bool outgrown = family.gemma || (window && *window < model.max_positions);
  if (config.error() || !window || *window == 0 || !outgrown) return;
  for (std::int32_t layer = 0; layer < model.layers; ++layer) {
    const bool here = types ? (*types)[static_cast<std::size_t>(layer)] == "sliding_attention"
                            : asked && slides(family, model, layer, from, pattern);
    if (here) model.windowed_layers.push_back(layer);
  }
  if (!model.windowed_layers.empty()) model.window = *window;
}

// With embeddings `factor` times as large, and `added` times what the layers add, the residual stream is
// `factor` times one with embeddings as they are and added / factor times what is added, and norms see no
// difference but for their epsilon. So the embeddings stay as they are.
void scale_embeddings(double factor, double added, ModelConfig& model) {
  model.residual_factor = static_cast<float>(added / factor);
  model.stream_epsilon = static_cast<float>(model.norm_epsilon / (factor * factor));
}

void read_multipliers(JsonReader& config, ModelConfig& model) {
  constexpr NumberRange kFactor{0, 1e6, true};
  const double embedding = config.number("embedding_multiplier", kFactor, 1.0);
  scale_embeddings(embedding, config.number("residual_multiplier", kFactor, 1.0), model);
  model.logits_factor = static_cast<float>(1 / config.number("logits_scaling", kFactor, 1.0));
  model.attention_factor = static_cast<float>(config.number("attention_multiplier", kFactor, 1.0));
}

// Embeddings are multiplied by sqrt(hidden), in their own precision.
void read_gemma(JsonReader& config, ModelConfig& model) {
  constexpr NumberRange kScalar{0, 1e9, true};
  const float root = std::sqrt(static_cast<float>(model.hidden));
  float embedding = 0;
  std::array<std::byte, sizeof(float)> rounded{};
  convert_values(&root, DType::f32, 1, model.weights, rounded.data());
  convert_values(rounded.data(), model.weights, 1, DType::f32, reinterpret_cast<std::byte*>(&embedding));
  scale_embeddings(static_cast<double>(embedding), 1.0, model);
  model.attention_factor =
      static_cast<float>(1 / std::sqrt(config.number("query_pre_attn_scalar", kScalar, 256.0)));
  model.norm_offset = 1.0F;
  model.added_norms = true;
}

// no_rope_layers has a 1 for each layer that is rotated; without it every so many layers one is not.
void read_unrotated_layers(JsonReader& config, ModelConfig& model) {
  const std::int32_t every = config.integer("no_rope_layer_interval", kLayersRange, 4);
  const nlohmann::json* list = config.find("no_rope_layers");
  const auto layers = static_cast<std::size_t>(model.layers);
  const auto is_flag = [](const nlohmann::json& value) { return value == 0 || value == 1; };
  if (list &&
      (!list->is_array() || list->size() != layers || !std::all_of(list->begin(), list->end(), is_flag))) {
    config.fail(ErrorCode::invalid_argument, "no_rope_layers",
                "must be a list of " + std::to_string(layers) + " numbers, each 0 or 1");
    return;
  }
  for (std::int32_t layer = 0; layer < model.layers; ++layer)
    if (list ? (*list)[static_cast<std::size_t>(layer)] == 0 : (layer + 1) % every == 0)
      model.unrotated_layers.push_back(layer);
}

std::vector<std::int32_t> read_dense_layers(JsonReader& config, std::int32_t layers) {
  std::vector<std::int32_t> dense;
  const nlohmann::json* list = config.find("mlp_only_layers");
  if (!list) return dense;
  const auto fits = [&](const nlohmann::json& layer) {
    return layer.is_number_unsigned() && layer.get<std::uint64_t>() < static_cast<std::uint64_t>(layers);
  };
  if (!list->is_array() || !std::all_of(list->begin(), list->end(), fits)) {
    config.fail(ErrorCode::invalid_argument, "mlp_only_layers",
                "must be a list of layers, each from 0 to " + std::to_string(layers - 1));
    return dense;
  }
  for (const nlohmann::json& layer : *list) dense.push_back(layer.get<std::int32_t>());
  std::ranges::sort(dense);
  dense.erase(std::unique(dense.begin(), dense.end()), dense.end());
  return dense;
}

// DeepSeek V3's words for what a mixture has (arXiv 2412.19437).
void read_deepseek_mixture(JsonReader& config, ModelConfig& model) {
  constexpr NumberRange kFactor{0, 1e6, true};
  MixtureConfig& m = model.mixture;
  m.scores = ExpertChoice::Scores::sigmoid;
  m.choice_bias = true;
  m.factor = static_cast<float>(config.number("routed_scaling_factor", kFactor, 1.0));
  m.groups = config.integer("n_group", {1, kMostExpertGroups}, 1);
  m.kept_groups = config.integer("topk_group", {1, kMostExpertGroups}, 1);
  if (m.experts % m.groups != 0 || m.kept_groups > m.groups ||
      m.experts / m.groups * m.kept_groups < m.per_token)
    config.fail(ErrorCode::invalid_argument, "n_group",
                "(" + std::to_string(m.groups) + ") and topk_group (" + std::to_string(m.kept_groups) +
                    ") do not fit " + std::to_string(m.experts) + " experts, of which " +
                    std::to_string(m.per_token) + " are chosen");
  const std::int32_t shared = config.integer("n_shared_experts", {0, 64}, 1);
  if (shared > 0 && m.ffn > kFfnRange.maximum / shared)
    config.fail(ErrorCode::invalid_argument, "n_shared_experts", "makes too wide an FFN");
  else
    m.shared_ffn = shared * m.ffn;
  const std::int32_t dense = config.integer("first_k_dense_replace", {0, model.layers}, 1);
  for (std::int32_t layer = 0; layer < dense; ++layer) m.dense_layers.push_back(layer);
}

void read_mixture(JsonReader& config, const MixtureFamily& family, ModelConfig& model) {
  MixtureConfig& mixture = model.mixture;
  mixture.names = family.names;
  const std::string_view key = family.deepseek                    ? "n_routed_experts"
                               : config.find("num_local_experts") ? "num_local_experts"
                                                                  : "num_experts";
  mixture.experts = config.integer(key, {1, kMostExperts});
  mixture.per_token = config.integer("num_experts_per_tok", {1, kMostExpertsPerToken});
  if (mixture.per_token > mixture.experts)
    config.fail(ErrorCode::invalid_argument, "num_experts_per_tok",
                "is " + std::to_string(mixture.per_token) + ", more than " + std::string(key) + " (" +
                    std::to_string(mixture.experts) + ")");
  mixture.ffn = model.ffn;
  if (!family.as_asked) return;
  mixture.ffn = config.integer("moe_intermediate_size", kFfnRange);
  mixture.renormalise = config.boolean("norm_topk_prob", false);
  if (config.error()) return;
  if (family.deepseek) return read_deepseek_mixture(config, model);
  mixture.every = config.integer("decoder_sparse_step", {1, kLayersRange.maximum}, 1);
  mixture.dense_layers = read_dense_layers(config, model.layers);
}

// eos_token_id: an id, a list of ids, or nothing.
std::vector<std::int32_t> read_token_ids(JsonReader& reader, std::string_view key, std::int32_t vocab) {
  std::vector<std::int32_t> ids;
  const nlohmann::json* value = reader.find(key);
  if (!value) return ids;
  const auto add = [&](const nlohmann::json& id) {
    const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() < static_cast<std::uint64_t>(vocab);
    if (fits)
      ids.push_back(id.get<std::int32_t>());
    else
      reader.fail(ErrorCode::invalid_argument, key,
                  "must be a token id, or a list of token ids, from 0 to " + std::to_string(vocab - 1));
  };
  if (value->is_array())
    for (const nlohmann::json& id : *value) add(id);
  else
    add(*value);
  return ids;
}

GenerationDefaults read_generation(JsonReader& reader, std::int32_t vocab) {
  const auto to_float = [](std::optional<double> v) {
    return v ? std::optional<float>(static_cast<float>(*v)) : std::nullopt;
  };
  GenerationDefaults defaults;
  defaults.eos_token_ids = read_token_ids(reader, "eos_token_id", vocab);
  defaults.temperature = to_float(reader.optional_number("temperature", {0, 100}));
  defaults.top_p = to_float(reader.optional_number("top_p", {0, 1}));
  defaults.repetition_penalty = to_float(reader.optional_number("repetition_penalty", {0, 100, true}));
  defaults.top_k = reader.optional_integer("top_k", {0, INT32_MAX});
  return defaults;
}

}  // namespace

bool ModelConfig::has_experts(std::int32_t layer) const {
  return mixture.experts > 0 && (layer + 1) % mixture.every == 0 &&
         !std::ranges::binary_search(mixture.dense_layers, layer);
}

Result<ModelConfig> parse_model_config(std::string_view config_json, std::string_view generation_config_json,
                                       std::int32_t max_context) {
  auto json = parse_json_object(config_json, kConfigFile, kMaxConfigBytes);
  if (!json) return std::move(json).error();
  const nlohmann::json language = language_config(*std::move(json));
  JsonReader config(language, kConfigFile);
  ModelConfig model;
  bool headless = false;
  model.architecture = read_architecture(config, headless);
  if (config.error()) return *config.error();  // before complaining about another family's keys
  const Family& family = *find_family(model.architecture);
  refuse_what_we_do_not_do(config, family);
  read_dimensions(config, model);
  model.weights = read_dtype(config);
  model.norm_epsilon = static_cast<float>(config.number("rms_norm_eps", {0, 1, true}, 1e-6));
  model.stream_epsilon = model.norm_epsilon;
  model.tied_embeddings = config.boolean("tie_word_embeddings", family.tied) || headless;
  read_biases(config, family, model);
  model.head_norms = family.head_norms || (family.asked_head_norms && config.boolean("use_qk_norm", false));
  model.fused = family.fused;
  model.sinks = family.sinks;
  model.activation = family.activation;
  if (family.mixture != nullptr) read_mixture(config, *family.mixture, model);
  read_quantization(config, model);
  if (family.multipliers) read_multipliers(config, model);
  if (family.gemma) read_gemma(config, model);
  if (family.skips_rotary) read_unrotated_layers(config, model);
  if (config.error()) return *config.error();
  read_rope(config, family, max_context, model);
  read_windows(config, family, model);
  model.bos_token_id = config.optional_integer("bos_token_id", {0, model.vocab - 1});
  const auto eos = read_token_ids(config, "eos_token_id", model.vocab);
  if (config.error()) return *config.error();

  if (!generation_config_json.empty()) {
    auto generation_json = parse_json_object(generation_config_json, kGenerationFile, kMaxConfigBytes);
    if (!generation_json) return std::move(generation_json).error();
    JsonReader generation(*generation_json, kGenerationFile);
    model.generation = read_generation(generation, model.vocab);
    if (generation.error()) return *generation.error();
  }
  // As in Hugging Face's generate(): generation_config.json decides where it says anything.
  if (model.generation.eos_token_ids.empty()) model.generation.eos_token_ids = eos;
  return model;
}

Result<ModelConfig> load_model_config(const std::filesystem::path& directory, std::int32_t max_context) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error))
    return make_error(ErrorCode::not_found, "no model directory " + directory.string());
  if (!std::filesystem::exists(directory / kConfigFile, error))
    return make_error(ErrorCode::not_found,
                      directory.string() + " holds no config.json: not a Hugging Face model directory");
  const auto config = read_small_file(directory / kConfigFile, kMaxConfigBytes);
  if (!config) return config.error();
  std::string generation;
  if (std::filesystem::exists(directory / kGenerationFile, error)) {
    auto text = read_small_file(directory / kGenerationFile, kMaxConfigBytes);
    if (!text) return std::move(text).error();
    generation = *std::move(text);
    if (generation.empty()) return make_error(ErrorCode::corrupt, "generation_config.json: empty");
  }
  return parse_model_config(*config, generation, max_context);
}

}  // namespace baton
