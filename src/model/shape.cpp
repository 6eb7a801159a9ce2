#include "baton/model/shape.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "baton/model/config.hpp"
#include "model/family.hpp"
#include "model/json_reader.hpp"

namespace baton {
namespace {

constexpr std::size_t kMaxConfig = 4 << 20;
constexpr IntegerRange kCount{0, 1 << 24};

struct PrecisionName {
  Precision precision;
  std::string_view name;
  double bytes;
};
constexpr std::array kPrecisions{
    PrecisionName{Precision::bf16, "bf16", 2}, PrecisionName{Precision::fp8, "fp8", 1},
    PrecisionName{Precision::fp4, "fp4", 0.5625}, PrecisionName{Precision::int4, "int4", 0.53},
    PrecisionName{Precision::f32, "f32", 4}};

// The names that publishers use for the same thing, the first that is there.
double first_of(JsonReader& reader, std::initializer_list<std::string_view> keys, double fallback = 0) {
  for (const std::string_view key : keys)
    if (reader.find(key) != nullptr) return reader.integer(key, kCount);
  return fallback;
}

double count_in(const nlohmann::json* list, std::string_view wanted) {
  return list == nullptr || !list->is_array()
             ? 0
             : static_cast<double>(std::ranges::count_if(*list, [&](const nlohmann::json& entry) {
                 return entry.is_string() && entry.get_ref<const std::string&>() == wanted;
               }));
}

// Mamba 2: one projection to gate, values, both states and the time steps, one back.
void read_mamba(JsonReader& reader, ModelShape& s) {
  const double heads = first_of(reader, {"mamba_num_heads"}), dim = first_of(reader, {"mamba_head_dim"});
  const double groups = first_of(reader, {"n_groups", "mamba_n_groups"}, 1);
  const double state = first_of(reader, {"ssm_state_size", "mamba_d_state"});
  const double inner = heads * dim;
  s.linear_parameters = s.hidden * (2 * inner + 2 * groups * state + heads) + inner * s.hidden;
  s.linear_state = inner * state;
}

// Gated delta rule: queries, keys, values, a gate as wide as the values, two numbers for each head.
void read_delta(JsonReader& reader, ModelShape& s) {
  const double keys = first_of(reader, {"linear_num_key_heads"}) * first_of(reader, {"linear_key_head_dim"});
  const double heads = first_of(reader, {"linear_num_value_heads"});
  const double values = heads * first_of(reader, {"linear_value_head_dim"});
  s.linear_parameters = s.hidden * (2 * keys + 2 * values + 2 * heads) + values * s.hidden;
  s.linear_state = values * first_of(reader, {"linear_key_head_dim"});
}

// "M-M*E": a letter for each layer, which is a mixer or an FFN alone.
void read_pattern(JsonReader& reader, const std::string& pattern, ModelShape& s) {
  const auto count = [&](char kind) { return static_cast<double>(std::ranges::count(pattern, kind)); };
  s.layers = static_cast<double>(pattern.size());
  s.attention_layers = count('*');
  s.linear_layers = count('M');
  s.dense_layers = count('-');
  s.expert_layers = count('E');
  s.ffn_matrices = 2;  // squared ReLU: no gate
  read_mamba(reader, s);
}

void read_attention(JsonReader& reader, ModelShape& s) {
  s.query_heads = reader.integer("num_attention_heads", {1, 1 << 16});
  s.kv_heads = first_of(reader, {"num_key_value_heads"}, s.query_heads);
  s.head_dim = first_of(reader, {"head_dim"}, s.hidden / std::max(1.0, s.query_heads));
  s.kv_rank = first_of(reader, {"kv_lora_rank"});
  s.query_rank = first_of(reader, {"q_lora_rank"});
  s.nope_dim = first_of(reader, {"qk_nope_head_dim"});
  s.rope_dim = first_of(reader, {"qk_rope_head_dim"});
  s.value_dim = first_of(reader, {"v_head_dim"});
  s.sparse_tokens = first_of(reader, {"index_topk"});
  s.output_gate = reader.boolean("attn_output_gate", false);
}

// Which of the attention layers slide: a list, a pattern of n - 1 sliding ones before each full one, those
// from one on, or all.
void read_window(JsonReader& reader, ModelShape& s) {
  if (reader.find("sliding_window") == nullptr) return;
  s.window = first_of(reader, {"sliding_window"});
  const bool longer = s.window >= s.max_positions;  // than any sequence: no window at all
  if (s.window <= 0 || longer || !reader.boolean("use_sliding_window", true)) return;
  const nlohmann::json* types = reader.find("layer_types");
  bool headless = false;
  const Family* family = find_family(language_architecture(s.architecture, headless));
  const double pattern = family ? family->pattern : s.architecture == "Gemma2ForCausalLM" ? 2 : 0;
  const double every = first_of(reader, {"sliding_window_pattern"}, pattern);
  const bool above = family && family->window == Family::Window::asked_above;
  if (types != nullptr)
    s.window_layers = count_in(types, "sliding_attention");
  else if (every > 0)
    s.window_layers = s.layers - static_cast<double>(static_cast<std::int64_t>(s.layers / every));
  else
    s.window_layers = std::max(0.0, s.layers - (above ? first_of(reader, {"max_window_layers"}, 28) : 0));
}

void read_linear(JsonReader& reader, ModelShape& s) {
  const double every = first_of(reader, {"full_attention_interval"});
  if (const nlohmann::json* types = reader.find("layer_types"))
    s.linear_layers = count_in(types, "linear_attention");
  else if (every > 0)
    s.linear_layers = s.layers - static_cast<double>(static_cast<std::int64_t>(s.layers / every));
  s.attention_layers -= s.linear_layers;
  if (s.linear_layers > 0) read_delta(reader, s);
}

void read_experts(JsonReader& reader, ModelShape& s) {
  s.experts = first_of(reader, {"n_routed_experts", "num_local_experts", "num_experts"});
  if (s.experts < 2) {
    s.experts = 0;
    return;
  }
  s.experts_per_token =
      first_of(reader, {"num_experts_per_tok", "num_experts_per_token", "experts_per_token"});
  if (s.experts_per_token < 1 || s.experts_per_token > s.experts)
    reader.fail(ErrorCode::invalid_argument, "num_experts_per_tok",
                "must be from 1 to the number of experts");
  s.expert_ffn = first_of(reader, {"moe_intermediate_size"}, s.ffn);
  s.shared_ffn = first_of(reader, {"shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"},
                          first_of(reader, {"n_shared_experts"}) * s.expert_ffn);
  if (s.expert_layers > 0) return;  // a pattern has said it
  const double step = std::max(1.0, first_of(reader, {"decoder_sparse_step"}, 1));
  s.expert_layers = static_cast<double>(static_cast<std::int64_t>(s.layers / step));
  s.expert_layers -= first_of(reader, {"first_k_dense_replace"});
  if (const nlohmann::json* dense = reader.find("mlp_only_layers"); dense != nullptr && dense->is_array())
    s.expert_layers -= static_cast<double>(dense->size());
  s.expert_layers = std::clamp(s.expert_layers, 0.0, s.layers);
  s.dense_layers = s.layers - s.expert_layers;
}

Precision stored_precision(JsonReader& reader) {
  const bool wide = reader.find("torch_dtype") != nullptr && reader.text("torch_dtype", "") == "float32";
  const Precision plain = wide ? Precision::f32 : Precision::bf16;
  const nlohmann::json* quantized = reader.find("quantization_config");
  if (quantized == nullptr || !quantized->is_object()) return plain;
  const auto method = quantized->find("quant_method");
  if (method == quantized->end() || !method->is_string()) return plain;
  const std::string& name = method->get_ref<const std::string&>();
  if (name == "mxfp4" || name.find("fp4") != std::string::npos) return Precision::fp4;
  if (name.find("fp8") != std::string::npos) return Precision::fp8;
  const auto says = [&](const char* key, std::string_view value) {
    const auto found = quantized->find(key);
    return found != quantized->end() && *found == value;
  };
  if (says("format", "float-quantized") || says("quant_algo", "FP8")) return Precision::fp8;
  if (name == "awq" || name == "gptq" || name == "compressed-tensors") return Precision::int4;
  return plain;
}

bool has_block_scales(JsonReader& reader) {
  const nlohmann::json* quantized = reader.find("quantization_config");
  if (quantized == nullptr || !quantized->is_object()) return false;
  const auto size = quantized->find("weight_block_size");
  return size != quantized->end() && size->is_array();
}

}  // namespace

std::string_view to_string(Precision precision) {
  return kPrecisions[static_cast<std::size_t>(precision)].name;
}
double bytes_per_element(Precision precision) {
  return kPrecisions[static_cast<std::size_t>(precision)].bytes;
}
std::optional<Precision> parse_precision(std::string_view name) {
  const auto* const found = std::ranges::find(kPrecisions, name, &PrecisionName::name);
  return found == kPrecisions.end() ? std::nullopt : std::optional(found->precision);
}

double ModelShape::attention_parameters() const {
  const double queries = query_heads * head_dim;
  if (!latent())
    return hidden * (queries * (output_gate ? 2 : 1) + 2 * kv_heads * head_dim) + queries * hidden;
  const double wide = query_heads * (nope_dim + rope_dim);
  const double query = query_rank > 0 ? hidden * query_rank + query_rank * wide : hidden * wide;
  return query + hidden * (kv_rank + rope_dim) + kv_rank * query_heads * (nope_dim + value_dim) +
         query_heads * value_dim * hidden;
}

double ModelShape::kv_elements() const { return latent() ? kv_rank + rope_dim : 2 * kv_heads * head_dim; }

double ModelShape::score_width() const {
  return latent() ? query_heads * (nope_dim + rope_dim + value_dim) : 2 * query_heads * head_dim;
}

double ModelShape::dense_parameters() const {
  return attention_layers * attention_parameters() + linear_layers * linear_parameters +
         dense_layers * ffn_parameters() + expert_layers * (shared_parameters() + hidden * experts);
}

double ModelShape::routed_parameters() const { return expert_layers * experts * expert_parameters(); }

double ModelShape::parameters() const {
  return dense_parameters() + routed_parameters() + embedding_parameters() * (tied ? 1 : 2);
}

double ModelShape::active_parameters() const {
  return dense_parameters() + expert_layers * experts_per_token * expert_parameters() +
         embedding_parameters() * (tied ? 1 : 2);
}

Result<ModelShape> parse_model_shape(std::string_view config_json, const std::string& file) {
  auto parsed = parse_json_object(config_json, file, kMaxConfig);
  if (!parsed) return parsed.error();
  const nlohmann::json config = language_config(*std::move(parsed));
  JsonReader reader(config, file);
  ModelShape s;
  if (const nlohmann::json* names = reader.find("architectures");
      names != nullptr && names->is_array() && !names->empty() && names->front().is_string())
    s.architecture = names->front().get<std::string>();
  if (reader.find("block_configs") != nullptr)
    reader.fail(ErrorCode::unsupported, "block_configs",
                "describes layers of different sizes, which is not supported");
  s.hidden = reader.integer("hidden_size", {1, 1 << 20});
  s.layers = reader.integer("num_hidden_layers", {1, 4096});
  s.vocab = reader.integer("vocab_size", {1, 1 << 24});
  s.max_positions = first_of(reader, {"max_position_embeddings"}, 1 << 20);
  const bool usually_tied = s.architecture.starts_with("Gemma") || s.architecture == "SmolLM3ForCausalLM";
  s.tied = reader.boolean("tie_word_embeddings", usually_tied);
  s.ffn = first_of(reader, {"intermediate_size", "moe_intermediate_size"});
  read_attention(reader, s);
  const std::string pattern = reader.text("hybrid_override_pattern", "");
  if (!pattern.empty()) {
    read_pattern(reader, pattern, s);
  } else {
    s.attention_layers = s.dense_layers = s.layers;
    read_window(reader, s);
    read_linear(reader, s);
  }
  read_experts(reader, s);
  s.stored = stored_precision(reader);
  s.block_scales = has_block_scales(reader);
  if (reader.error()) return *reader.error();
  if (s.dense_layers > 0 && s.ffn <= 0)
    return make_error(ErrorCode::invalid_argument, file + ": 'intermediate_size' is missing",
                      "intermediate_size");
  return s;
}

ModelShape shape_of(const ModelConfig& c) {
  ModelShape s;
  s.architecture = c.architecture;
  s.layers = s.attention_layers = s.dense_layers = c.layers;
  if (const MixtureConfig& m = c.mixture; m.experts > 0) {
    s.experts = m.experts, s.experts_per_token = m.per_token, s.expert_ffn = m.ffn;
    s.shared_ffn = m.shared_ffn;
    for (std::int32_t i = 0; i < c.layers; ++i) s.expert_layers += c.has_experts(i) ? 1 : 0;
    s.dense_layers -= s.expert_layers;
  }
  s.hidden = c.hidden, s.vocab = c.vocab, s.ffn = c.ffn, s.tied = c.tied_embeddings;
  s.query_heads = c.query_heads, s.kv_heads = c.kv_heads, s.head_dim = c.head_dim;
  s.max_positions = c.max_positions;
  s.window = c.window, s.window_layers = static_cast<double>(c.windowed_layers.size());
  // Packed weights are expanded: in an engine they are as large as the embeddings' type makes them.
  s.stored = c.fp8 != Fp8::none ? Precision::fp8 : c.weights == DType::f32 ? Precision::f32 : Precision::bf16;
  s.block_scales = c.fp8_blocks.out > 0;
  return s;
}

}  // namespace baton
