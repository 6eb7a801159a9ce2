// Reads config.json and generation_config.json into a ModelConfig.
//
// Invariant of what it returns: every dimension is positive and so bounded that no product of a tensor's
// dimensions overflows 64 bits, heads divide, head_dim is even, and every token id lies in the vocabulary.
// Keys that we do not know are ignored: Hugging Face's files are full of them. Keys that we know to change
// the arithmetic in a way that we do not do are `unsupported`.
#include "baton/model/config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "baton/model/capability.hpp"
#include "model/json_reader.hpp"
#include "model/quantization_config.hpp"
#include "model/rope.hpp"

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
constexpr IntegerRange kPositionsRange{1, 1 << 24};

// A mixture's experts: every layer's, of the model's own FFN size, as Mixtral has them, or as config.json
// says.
struct MixtureFamily {
  MixtureNames names;
  bool as_asked;
};
constexpr MixtureFamily kMixtral{{"block_sparse_moe.", "w1", "w3", "w2"}, false};
constexpr MixtureFamily kQwenMoe{{}, true};

// What a family's code fixes or asks config.json for, as in Hugging Face's modeling files.
struct Family {
  enum class Bias : std::uint8_t {
    never,
    inputs,       // of q, k and v
    asked,        // by attention_bias
    asked_apart,  // by attention_bias, and of o by attention_out_bias
  };
  enum class Window : std::uint8_t { never, unless_null, asked };  // asked: by use_sliding_window

  std::string_view architecture;
  Bias attention = Bias::never;
  bool mlp_bias = false;    // may be asked for
  bool head_norms = false;  // of q and k
  Window window = Window::never;
  const MixtureFamily* mixture = nullptr;  // or none
  bool fused = false;                      // q, k and v, and gate and up, are one tensor each
  bool partial_rotary = false;             // may be asked for
  bool skips_rotary = false;               // in some layers
  bool multipliers = false;                // of embeddings, residuals, scores and logits
  bool tied = false;                       // embeddings and output, unless config.json says otherwise
};
constexpr Family kFamilies[] = {
    {.architecture = "GraniteForCausalLM",
     .attention = Family::Bias::asked,
     .mlp_bias = true,
     .multipliers = true},
    {.architecture = "LlamaForCausalLM", .attention = Family::Bias::asked, .mlp_bias = true},
    {.architecture = "MistralForCausalLM", .window = Family::Window::unless_null},
    {.architecture = "MixtralForCausalLM", .window = Family::Window::unless_null, .mixture = &kMixtral},
    {.architecture = "Phi3ForCausalLM",
     .window = Family::Window::unless_null,
     .fused = true,
     .partial_rotary = true},
    {.architecture = "Qwen2ForCausalLM", .attention = Family::Bias::inputs, .window = Family::Window::asked},
    {.architecture = "Qwen3ForCausalLM",
     .attention = Family::Bias::asked,
     .head_norms = true,
     .window = Family::Window::asked},
    {.architecture = "Qwen3MoeForCausalLM",
     .attention = Family::Bias::asked,
     .head_norms = true,
     .window = Family::Window::asked,
     .mixture = &kQwenMoe},
    {.architecture = "SeedOssForCausalLM", .attention = Family::Bias::asked_apart, .mlp_bias = true},
    {.architecture = "SmolLM3ForCausalLM",
     .attention = Family::Bias::asked,
     .mlp_bias = true,
     .window = Family::Window::asked,
     .skips_rotary = true,
     .tied = true},
};

const Family& family_of(std::string_view architecture) {
  return *std::ranges::find(kFamilies, architecture, &Family::architecture);
}

// What a model is called that was saved without its head, to embed: "Qwen3Model".
constexpr std::string_view kBare = "Model";

// The family's name, "Qwen3ForCausalLM", also of a model without its head, whose embeddings then do for one.
std::string read_architecture(JsonReader& config, bool& headless) {
  const nlohmann::json* list = config.find("architectures");
  if (!list || !list->is_array() || list->empty() || !list->front().is_string()) {
    config.fail(ErrorCode::invalid_argument, "architectures",
                "must be a list with the model's class; supported: " + supported_architectures());
    return {};
  }
  auto name = list->front().get<std::string>();
  headless = name.ends_with(kBare);
  if (headless) name.replace(name.size() - kBare.size(), kBare.size(), "ForCausalLM");
  for (const std::string_view supported : capability().architectures)
    if (name == supported) return name;
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

void refuse_what_we_do_not_do(JsonReader& config) {
  const std::string act = config.text("hidden_act", "silu");
  if (act != "silu") config.fail(ErrorCode::unsupported, "hidden_act", "is '" + act + "'; supported: silu");
}

void read_biases(JsonReader& config, const Family& family, ModelConfig& model) {
  const bool apart = family.attention == Family::Bias::asked_apart;
  const bool asked =
      (family.attention == Family::Bias::asked || apart) && config.boolean("attention_bias", apart);
  model.attention_bias = asked || family.attention == Family::Bias::inputs;
  model.attention_output_bias = apart ? config.boolean("attention_out_bias", false) : asked;
  model.mlp_bias = family.mlp_bias && config.boolean("mlp_bias", false);
}

// Attention here is to all that came before. Within a window's length that is what a sliding window is, too:
// so far the context goes.
void limit_to_window(JsonReader& config, const Family& family, ModelConfig& model) {
  if (family.window == Family::Window::never) return;
  bool slides = false;
  if (const nlohmann::json* types = config.find("layer_types"); types != nullptr && types->is_array()) {
    for (const nlohmann::json& type : *types) {
      slides = slides || type == "sliding_attention";
      if (type != "full_attention" && type != "sliding_attention")
        config.fail(ErrorCode::unsupported, "layer_types",
                    "names other than full_attention and sliding_attention");
    }
  }
  const bool asked = family.window != Family::Window::asked || config.boolean("use_sliding_window", false);
  if (!asked && !slides) return;
  const auto window = config.optional_integer("sliding_window", {0, INT32_MAX});
  if (window && *window > 0 && *window < model.max_positions) model.max_positions = model.window = *window;
}

// With embeddings m times as large, and r times what the layers add, the residual stream is m times one with
// embeddings as they are and r / m times what is added, and norms see no difference but for their epsilon. So
// the embeddings stay as they are.
void read_multipliers(JsonReader& config, ModelConfig& model) {
  constexpr NumberRange kFactor{0, 1e6, true};
  const double embedding = config.number("embedding_multiplier", kFactor, 1.0);
  model.residual_factor = static_cast<float>(config.number("residual_multiplier", kFactor, 1.0) / embedding);
  model.logits_factor = static_cast<float>(1 / config.number("logits_scaling", kFactor, 1.0));
  model.attention_factor = static_cast<float>(config.number("attention_multiplier", kFactor, 1.0));
  model.norm_epsilon = static_cast<float>(model.norm_epsilon / (embedding * embedding));
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

void read_mixture(JsonReader& config, const MixtureFamily& family, ModelConfig& model) {
  MixtureConfig& mixture = model.mixture;
  mixture.names = family.names;
  const std::string_view key = config.find("num_local_experts") ? "num_local_experts" : "num_experts";
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
  mixture.every = config.integer("decoder_sparse_step", {1, kLayersRange.maximum}, 1);
  mixture.dense_layers = read_dense_layers(config, model.layers);
}

void read_yarn(JsonReader& rope, std::int32_t max_positions, RopeScaling& scaling) {
  constexpr NumberRange kBeta{0, 1e6, true};
  const double implied = static_cast<double>(max_positions) / scaling.original_max_positions;
  scaling.factor = rope.number("factor", {1, 1e4}, std::max(implied, 1.0));
  scaling.beta_fast = rope.number("beta_fast", kBeta, 32.0);
  scaling.beta_slow = rope.number("beta_slow", kBeta, 1.0);
  if (scaling.beta_fast < scaling.beta_slow)
    rope.fail(ErrorCode::invalid_argument, "beta_fast", "must not be below beta_slow");
  scaling.truncate = rope.boolean("truncate", true);
  scaling.attention_factor = rope.optional_number("attention_factor", {0, 1e4, true});
  scaling.mscale = rope.number("mscale", {0, 1e4}, 0.0);
  scaling.mscale_all_dim = rope.number("mscale_all_dim", {0, 1e4}, 0.0);
}

void read_llama3(JsonReader& rope, RopeScaling& scaling) {
  constexpr NumberRange kFrequencyFactor{0, 1e6, true};
  scaling.factor = rope.number("factor", {1, 1e4});
  scaling.low_freq_factor = rope.number("low_freq_factor", kFrequencyFactor);
  scaling.high_freq_factor = rope.number("high_freq_factor", kFrequencyFactor);
  if (!rope.error() && scaling.high_freq_factor <= scaling.low_freq_factor)
    rope.fail(ErrorCode::invalid_argument, "high_freq_factor", "must be above low_freq_factor");
}

// A divisor for each rotated pair: those for short contexts, or those for contexts beyond the original
// length.
void read_longrope(JsonReader& rope, std::int32_t pairs, std::int32_t max_positions, std::int32_t max_context,
                   RopeScaling& scaling) {
  if (scaling.original_max_positions < 2)
    rope.fail(ErrorCode::invalid_argument, "original_max_position_embeddings", "must be at least 2");
  const double implied = static_cast<double>(max_positions) / scaling.original_max_positions;
  scaling.factor = rope.number("factor", {0, 1e4, true}, implied);
  scaling.attention_factor = rope.optional_number("attention_factor", {0, 1e4, true});
  const std::int32_t longest = max_context > 0 ? std::min(max_context, max_positions) : max_positions;
  const char* const key = longest > scaling.original_max_positions ? "long_factor" : "short_factor";
  const nlohmann::json* list = rope.find(key);
  const auto is_divisor = [](const nlohmann::json& v) { return v.is_number() && v > 0.0 && v < 1e6; };
  if (!list || !list->is_array() || list->size() != static_cast<std::size_t>(pairs) ||
      !std::all_of(list->begin(), list->end(), is_divisor)) {
    rope.fail(ErrorCode::invalid_argument, key,
              "must be a list of " + std::to_string(pairs) + " numbers above 0");
    return;
  }
  for (const nlohmann::json& divisor : *list) scaling.divisors.push_back(divisor.get<float>());
}

// One of the two spellings: `rope_scaling` (with rope_theta beside it) or `rope_parameters` (with it inside).
void read_rope_object(JsonReader& rope, std::int32_t pairs, std::int32_t max_positions,
                      std::int32_t max_context, RopeScaling& scaling) {
  constexpr NumberRange kTheta{1, 1e15, true};
  scaling.theta = rope.number("rope_theta", kTheta, scaling.theta);
  const std::string_view type_key = rope.find("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(type_key, "default");
  scaling.original_max_positions =
      rope.integer("original_max_position_embeddings", kPositionsRange,
                   scaling.original_max_positions ? scaling.original_max_positions : max_positions);
  if (type == "default") {
    scaling.type = RopeType::none;
  } else if (type == "linear" || type == "dynamic") {
    scaling.type = type == "linear" ? RopeType::linear : RopeType::dynamic;
    scaling.factor = rope.number("factor", {1, 1e4});
  } else if (type == "yarn") {
    scaling.type = RopeType::yarn;
    read_yarn(rope, max_positions, scaling);
  } else if (type == "llama3") {
    scaling.type = RopeType::llama3;
    read_llama3(rope, scaling);
  } else if (type == "longrope" || type == "su") {
    scaling.type = RopeType::longrope;
    read_longrope(rope, pairs, max_positions, max_context, scaling);
  } else {
    rope.fail(ErrorCode::unsupported, type_key,
              "is '" + type + "'; supported: default, linear, dynamic, yarn, llama3, longrope");
  }
}

// How much of a head is rotated; the key stands beside rope_parameters or in it.
std::int32_t read_rotary_dim(JsonReader& config, const Family& family, std::int32_t head_dim) {
  const char* const key = "partial_rotary_factor";
  double share = config.number(key, {0, 1, true}, 1.0);
  for (const char* const outer : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* object = config.find(outer);
    if (!object || !object->is_object()) continue;
    JsonReader rope(*object, config.file(), std::string(outer) + ".");
    share = rope.number(key, {0, 1, true}, share);
    config.adopt(rope.error());
  }
  const auto rotary = static_cast<std::int32_t>(head_dim * share);
  if (rotary == head_dim) return head_dim;
  if (!family.partial_rotary)
    config.fail(ErrorCode::unsupported, key, "must be 1");
  else if (rotary < 2 || rotary % 2 != 0)
    config.fail(ErrorCode::invalid_argument, key,
                "gives " + std::to_string(rotary) + " rotated elements of a head, must be an even number");
  return std::max(rotary / 2 * 2, 2);
}

void read_rope(JsonReader& config, const Family& family, std::int32_t max_context, ModelConfig& model) {
  model.rotary_dim = read_rotary_dim(config, family, model.head_dim);
  const std::int32_t positions = config.integer("max_position_embeddings", kPositionsRange, 2048);
  RopeScaling scaling;
  scaling.theta = config.number("rope_theta", {1, 1e15, true}, scaling.theta);
  scaling.original_max_positions =
      config.integer("original_max_position_embeddings", kPositionsRange, positions);
  const std::string key = config.find("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (const nlohmann::json* object = config.find(key)) {
    if (!object->is_object()) {
      config.fail(ErrorCode::invalid_argument, key, "must be an object");
      return;
    }
    JsonReader rope(*object, config.file(), key + ".");
    read_rope_object(rope, model.rotary_dim / 2, positions, max_context, scaling);
    config.adopt(rope.error());
  }
  if (config.error()) return;
  if (scaling.type == RopeType::dynamic && model.rotary_dim <= 2)
    config.fail(ErrorCode::unsupported, key, "of type dynamic needs a head_dim above 2");
  if (scaled_context_length(scaling, positions) > static_cast<double>(kPositionsRange.maximum))
    config.fail(ErrorCode::invalid_argument, key,
                "stretches the context beyond " + std::to_string(kPositionsRange.maximum) + " positions");
  if (config.error()) return;
  model.rope = make_rope_table(scaling, model.rotary_dim, positions, model.head_dim);
  model.max_positions = model.rope.max_positions;
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
  JsonReader config(*json, kConfigFile);
  ModelConfig model;
  bool headless = false;
  model.architecture = read_architecture(config, headless);
  if (config.error()) return *config.error();  // before complaining about another family's keys
  refuse_what_we_do_not_do(config);
  read_dimensions(config, model);
  model.weights = read_dtype(config);
  read_quantization(config, model);
  model.norm_epsilon = static_cast<float>(config.number("rms_norm_eps", {0, 1, true}, 1e-6));
  const Family& family = family_of(model.architecture);
  model.tied_embeddings = config.boolean("tie_word_embeddings", family.tied) || headless;
  read_biases(config, family, model);
  model.head_norms = family.head_norms;
  model.fused = family.fused;
  if (family.mixture != nullptr) read_mixture(config, *family.mixture, model);
  if (family.multipliers) read_multipliers(config, model);
  if (family.skips_rotary) read_unrotated_layers(config, model);
  if (config.error()) return *config.error();
  read_rope(config, family, max_context, model);
  limit_to_window(config, family, model);
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
