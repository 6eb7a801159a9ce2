#include "model/quantization_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace baton {
namespace {

constexpr const char* kSupported =
    "; supported: FP8 weights (e4m3) with a scale for each tensor or each output, by compressed-tensors, "
    "fbgemm_fp8, modelopt or fp8, or for each block, by fp8; weights of 4 or 8 bits by awq (gemm), gptq or "
    "compressed-tensors (pack-quantized); gpt-oss' experts by mxfp4";
constexpr std::int32_t kMostInGroup = 1 << 20;

// One of compressed-tensors' groups: e4m3 weights, a scale for each tensor or each output.
bool is_plain_fp8(const nlohmann::json& group) {
  const auto weights = group.is_object() ? group.find("weights") : group.end();
  if (!group.is_object() || weights == group.end() || !weights->is_object()) return false;
  const auto says = [&](const char* key, const nlohmann::json& value) {
    const auto found = weights->find(key);
    return found != weights->end() && *found == value;
  };
  return says("num_bits", 8) && says("type", "float") &&
         (says("strategy", "tensor") || says("strategy", "channel")) && !says("symmetric", false);
}

bool rounds_activations(const nlohmann::json& group) {
  const auto activations = group.find("input_activations");
  return activations != group.end() && !activations->is_null();
}

// Qwen's and DeepSeek's: one scale for each block of a weight.
Fp8Blocks read_blocks(JsonReader& quantization) {
  const nlohmann::json* size = quantization.find("weight_block_size");
  if (!size) return {};
  const auto fits = [](const nlohmann::json& value) {
    return value.is_number_integer() && value >= 1 && value <= 65536;
  };
  if (size->is_array() && size->size() == 2 && fits((*size)[0]) && fits((*size)[1]))
    return {(*size)[0].get<std::int32_t>(), (*size)[1].get<std::int32_t>()};
  quantization.fail(ErrorCode::invalid_argument, "weight_block_size",
                    "is " + size->dump() + ", must be two integers from 1 to 65536");
  return {};
}

// A key that a tool writes under one of two names.
std::string_view either(const JsonReader& reader, std::string_view usual, std::string_view other) {
  return !reader.find(usual) && reader.find(other) ? other : usual;
}

// `fixed` as the only value of a key that may be absent.
void want(JsonReader& reader, std::string_view key, std::string_view fixed) {
  const std::string is = reader.text(key, fixed);
  if (is != fixed)
    reader.fail(ErrorCode::unsupported, key, "is '" + is + "'; supported: " + std::string(fixed));
}

std::int32_t read_bits(JsonReader& reader, std::string_view key, bool may_be_8) {
  const std::int32_t bits = reader.integer(key, {1, 32});
  if (bits != 4 && !(bits == 8 && may_be_8))
    reader.fail(ErrorCode::unsupported, key,
                "is " + std::to_string(bits) + "; supported: 4" + (may_be_8 ? " and 8" : ""));
  return bits;
}

// Inputs; 0 for all of an output's, which is written -1.
std::int32_t read_group(JsonReader& reader, std::string_view key) {
  const std::int32_t size = reader.integer(key, {-1, kMostInGroup});
  if (size == 0) reader.fail(ErrorCode::invalid_argument, key, "is 0, must be -1 or at least 1");
  return std::max(size, 0);
}

// GPTQModel's rotation of activations, and its settings for single modules. "-:<expression>" leaves one
// whole, which its tensors show.
void refuse_exceptions(JsonReader& reader) {
  if (reader.find("rotation"))
    reader.fail(ErrorCode::unsupported, "rotation", "is set; supported: weights for activations as they are");
  const nlohmann::json* dynamic = reader.find("dynamic");
  if (!dynamic || *dynamic == false) return;
  bool skips_alone = dynamic->is_object();
  if (skips_alone)
    for (const auto& [module, settings] : dynamic->items()) skips_alone &= module.starts_with("-:");
  if (!skips_alone)
    reader.fail(ErrorCode::unsupported, "dynamic",
                "gives modules settings of their own; supported: one for all, or none");
}

// https://github.com/casper-hansen/AutoAWQ: the layout that it calls gemm.
PackedWeights read_awq(JsonReader& reader) {
  PackedWeights packed{.kind = PackedWeights::Kind::awq};
  const std::string_view version = either(reader, "version", "format");
  std::string layout = reader.text(version, "gemm");
  std::ranges::transform(layout, layout.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  if (layout != "gemm") reader.fail(ErrorCode::unsupported, version, "is '" + layout + "'; supported: gemm");
  want(reader, "checkpoint_format", "gemm");
  want(reader, "pack_dtype", "int32");
  packed.bits = read_bits(reader, either(reader, "bits", "w_bit"), false);
  packed.group = read_group(reader, either(reader, "group_size", "q_group_size"));
  if (!reader.boolean("zero_point", true))
    reader.fail(ErrorCode::unsupported, "zero_point", "is false; supported: weights with zero points");
  refuse_exceptions(reader);
  return packed;
}

// https://arxiv.org/abs/2210.17323 as AutoGPTQ and GPTQModel write it.
PackedWeights read_gptq(JsonReader& reader) {
  PackedWeights packed{.kind = PackedWeights::Kind::gptq};
  const std::string_view key = either(reader, "checkpoint_format", "format");
  const std::string format = reader.text(key, "gptq");
  if (format != "gptq" && format != "gptq_v2")
    reader.fail(ErrorCode::unsupported, key, "is '" + format + "'; supported: gptq and gptq_v2");
  if (reader.boolean("is_marlin_format", false))
    reader.fail(ErrorCode::unsupported, "is_marlin_format", "is true; supported: gptq's own layout");
  want(reader, "pack_dtype", "int32");
  packed.zeros_less_one = format == "gptq";
  packed.bits = read_bits(reader, "bits", true);
  packed.group = read_group(reader, "group_size");
  packed.inputs_ordered = reader.boolean("desc_act", false);
  if (packed.inputs_ordered && packed.group == 0)
    reader.fail(ErrorCode::unsupported, "desc_act",
                "is true, but group_size is -1: there is nothing to order");
  refuse_exceptions(reader);
  return packed;
}

// The `weights` of one of compressed-tensors' groups.
PackedWeights read_compressed_weights(JsonReader& reader) {
  PackedWeights packed{.kind = PackedWeights::Kind::compressed};
  want(reader, "type", "int");
  packed.bits = read_bits(reader, "num_bits", true);
  const std::string strategy = reader.text("strategy", "");
  if (strategy == "group") {
    packed.group = reader.integer("group_size", {1, kMostInGroup});
  } else if (strategy == "channel") {
    if (reader.optional_integer("group_size", {-1, kMostInGroup}).value_or(-1) != -1)
      reader.fail(ErrorCode::invalid_argument, "group_size", "must be -1 where strategy is 'channel'");
  } else {
    reader.fail(ErrorCode::unsupported, "strategy", "is '" + strategy + "'; supported: group and channel");
  }
  packed.symmetric = reader.boolean("symmetric", true);
  if (reader.boolean("dynamic", false))
    reader.fail(ErrorCode::unsupported, "dynamic", "is true; supported: weights with stored scales");
  if (const nlohmann::json* order = reader.find("actorder"); order != nullptr) {
    packed.inputs_ordered = *order == true || *order == "group" || *order == "dynamic";
    if (!packed.inputs_ordered && *order != false && *order != "weight" && *order != "static")
      reader.fail(ErrorCode::unsupported, "actorder", "must be group, weight or absent");
  }
  if (packed.inputs_ordered && packed.group == 0)
    reader.fail(ErrorCode::unsupported, "actorder", "orders groups, but strategy is 'channel'");
  return packed;
}

// https://github.com/vllm-project/compressed-tensors, format pack-quantized.
PackedWeights read_compressed(JsonReader& reader) {
  std::optional<PackedWeights> common;
  const nlohmann::json* groups = reader.find("config_groups");
  if (!groups || !groups->is_object() || groups->empty()) {
    reader.fail(ErrorCode::invalid_argument, "config_groups", "must be an object with a group of weights");
    return {};
  }
  const auto says = [](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && !found->is_null();
  };
  for (const auto& [name, group] : groups->items()) {
    if (!group.is_object() || !says(group, "weights") || !group["weights"].is_object() ||
        says(group, "input_activations") || says(group, "output_activations")) {
      reader.fail(ErrorCode::unsupported, "config_groups." + name,
                  "must describe weights, and no activations");
      return {};
    }
    JsonReader weights(group["weights"], reader.file(),
                       "quantization_config.config_groups." + name + ".weights.");
    const PackedWeights packed = read_compressed_weights(weights);
    reader.adopt(weights.error());
    if (common.value_or(packed) != packed)
      reader.fail(ErrorCode::unsupported, "config_groups",
                  "differ in their weights; supported: one kind for all");
    common = packed;
  }
  // Either changes what the packed tensors hold, or what has to be done to activations.
  for (const char* key : {"sparsity_config", "transform_config"}) {
    const nlohmann::json* found = reader.find(key);
    const bool dense = !found || (found->is_object() &&
                                  (found->empty() || found->value("format", nlohmann::json()) == "dense"));
    if (!dense)
      reader.fail(ErrorCode::unsupported, key, "is not empty; supported: dense weights as they are");
  }
  return *common;
}

// Scales of FP8 activations are not read: a device that rounds activations finds its own, a scale for each
// row.
Fp8 read_compressed_fp8(JsonReader& reader) {
  const nlohmann::json* groups = reader.find("config_groups");
  if (!groups || !groups->is_object() || groups->empty() ||
      !std::all_of(groups->begin(), groups->end(), is_plain_fp8)) {
    reader.fail(ErrorCode::unsupported, "config_groups", std::string("describes other weights") + kSupported);
    return Fp8::products;
  }
  return std::all_of(groups->begin(), groups->end(), rounds_activations) ? Fp8::products : Fp8::weights;
}

}  // namespace

void read_quantization(JsonReader& config, ModelConfig& model) {
  const nlohmann::json* found = config.find("quantization_config");
  if (!found) return;
  if (!found->is_object()) {
    config.fail(ErrorCode::invalid_argument, "quantization_config", "must be an object");
    return;
  }
  JsonReader reader(*found, config.file(), "quantization_config.");
  const std::string method = reader.text("quant_method", "");
  if (method == "awq") {
    model.packed = read_awq(reader);
  } else if (method == "gptq") {
    model.packed = read_gptq(reader);
  } else if (method == "compressed-tensors") {
    const std::string format = reader.text("format", "");
    if (format == "pack-quantized")
      model.packed = read_compressed(reader);
    else if (format == "float-quantized")
      model.fp8 = read_compressed_fp8(reader);
    else
      reader.fail(ErrorCode::unsupported, "format", "is '" + format + "'" + kSupported);
  } else if (method == "modelopt") {
    model.fp8 = Fp8::products;
    const std::string algorithm = reader.text("quant_algo", "");
    if (algorithm != "FP8")
      reader.fail(ErrorCode::unsupported, "quant_algo", "is '" + algorithm + "'" + kSupported);
  } else if (method == "fp8" || method == "fbgemm_fp8") {
    model.fp8 = Fp8::products;
    if (method == "fp8") model.fp8_blocks = read_blocks(reader);
  } else if (method == "mxfp4" && model.mixture.one_tensor() && model.mixture.experts > 0) {
    // only the experts, which say so by their tensors' names
  } else {
    reader.fail(ErrorCode::unsupported, "quant_method", "is '" + method + "'" + kSupported);
  }
  config.adopt(reader.error());
}

}  // namespace baton
