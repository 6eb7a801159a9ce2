// A tiny random checkpoint of any family, a runner that drives a model by hand, and how far logits are from
// the oracle's.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "baton/model/model.hpp"
#include "baton/tensor/convert.hpp"
#include "checkpoint_writer.hpp"
#include "oracle.hpp"
#include "support/catch.hpp"

namespace baton::test {

using Tokens = std::vector<std::int32_t>;
using Logits = std::vector<float>;

// One sequence's paged cache, its blocks out of order, driven by hand.
class Runner {
 public:
  Runner(Model& model, Ops& ops, std::int32_t block_size, std::int32_t tokens = 256)
      : model_(model), ops_(ops), spec_(model.kv_spec(block_size)) {
    kv_.layout = spec_.layout;
    const std::int32_t of_a_group = tokens / block_size + 1;
    kv_.blocks = of_a_group * spec_.layout.groups.count();
    memory_.resize(kv_.layout.block_bytes() * static_cast<std::size_t>(kv_.blocks), std::byte{0x7f});
    kv_.base = memory_.data();
    table_.resize(static_cast<std::size_t>(of_a_group));
    std::iota(table_.rbegin(), table_.rend(), 0);
    std::swap(table_.front(), table_[table_.size() / 2]);
  }

  // Logits of the last `wanted` of these tokens, one after the other.
  Logits feed(const Tokens& tokens, int wanted = 1) {
    Batch batch;
    batch.tokens = tokens;
    batch.sequences.push_back({0, static_cast<std::int32_t>(tokens.size()), position_, 0});
    batch.block_table = table_;
    batch.repeat_table(spec_.layout.groups.count(), static_cast<std::int32_t>(table_.size()));
    for (std::size_t i = 0; i < tokens.size(); ++i) batch.positions.push_back(position_++);
    for (int i = wanted; i > 0; --i) batch.logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - i);
    if (adapter >= 0) {
      batch.adapters.assign(tokens.size(), adapter);
      batch.logit_adapters.assign(batch.logit_rows.size(), adapter);
    }
    const Tensor out = model_.forward(batch, kv_, ops_);
    CHECK(out.rows == wanted);
    if (wanted == 0) return {};
    const auto values = ops_.to_host(out);
    return {values.begin(), values.end()};
  }

  std::int32_t adapter = -1;
  KvView& kv() { return kv_; }
  const Tokens& table() const { return table_; }

 private:
  Model& model_;
  Ops& ops_;
  KvSpec spec_;
  KvView kv_;
  std::vector<std::byte> memory_;
  Tokens table_;
  std::int32_t position_ = 0;
};

inline std::int32_t argmax(const Logits& logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Weights that F32, F16 and BF16 all hold exactly.
inline std::string encode(const std::vector<float>& values, const std::string& dtype) {
  if (dtype == "F32") return f32_bytes(values);
  std::string bytes;
  if (dtype == "F8_E4M3") {  // normal values of four significant bits
    for (const float value : values) {
      int exponent = 0;
      const float mantissa = std::frexp(std::abs(value), &exponent);
      const int code = value == 0 ? 0 : (exponent + 6) << 3 | static_cast<int>((2 * mantissa - 1) * 8);
      bytes += static_cast<char>((value < 0 ? 0x80 : 0) | code);
    }
    return bytes;
  }
  for (const float value : values) {
    std::uint16_t bits = 0;
    if (dtype == "BF16") {
      std::uint32_t whole = 0;
      std::memcpy(&whole, &value, 4);
      bits = static_cast<std::uint16_t>(whole >> 16);
    } else if (value != 0) {
      int exponent = 0;
      const float mantissa = std::frexp(std::abs(value), &exponent);
      bits = static_cast<std::uint16_t>((value < 0 ? 0x8000 : 0) | (exponent + 14) << 10 |
                                        static_cast<int>((2 * mantissa - 1) * 1024));
    }
    bytes += static_cast<char>(bits & 0xff);
    bytes += static_cast<char>(bits >> 8);
  }
  return bytes;
}

// A tiny random checkpoint in a directory, and its weights for the oracle.
struct TinyModel {
  TempDirectory directory;
  nlohmann::json config;
  std::vector<TestTensor> tensors;
  std::map<std::string, std::vector<float>> weights;  // by projection, also of those that are one tensor
  std::map<std::string, std::size_t> inputs;          // of each of these

  explicit TinyModel(const char* patch = "{}", const std::string& dtype = "F32") {
    config = nlohmann::json::parse(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 24,
      "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
      "head_dim": 8, "vocab_size": 61, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
      "torch_dtype": "float32", "eos_token_id": 2})");
    config.merge_patch(nlohmann::json::parse(patch));
    const std::int64_t hidden = config["hidden_size"];
    const std::int64_t q = config["num_attention_heads"].get<std::int64_t>() * 8;
    const std::int64_t kv = config["num_key_value_heads"].get<std::int64_t>() * 8;
    const auto family = config["architectures"][0].get<std::string>();
    const bool input_bias = config.value("attention_bias", family == "GptOssForCausalLM");
    const bool output_bias = input_bias && family != "Glm4MoeForCausalLM";
    const bool bias = input_bias || family == "Qwen2ForCausalLM";
    const bool mlp_bias = config.value("mlp_bias", false);
    add("model.embed_tokens.weight", {61, hidden}, dtype);
    for (int i = 0; i < 3; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      add(layer + "input_layernorm.weight", {hidden}, dtype);
      add(layer + "post_attention_layernorm.weight", {hidden}, dtype);
      const bool fused = family == "Phi3ForCausalLM";
      projection(layer + "self_attn.q_proj", q, hidden, bias, dtype);
      projection(layer + "self_attn.k_proj", kv, hidden, bias, dtype);
      projection(layer + "self_attn.v_proj", kv, hidden, bias, dtype);
      if (fused) fuse(layer + "self_attn.qkv_proj", 3);
      projection(layer + "self_attn.o_proj", hidden, q, output_bias, dtype);
      const bool gemma = family.starts_with("Gemma3"), stacked = family == "GptOssForCausalLM";
      if (gemma) {
        add(layer + "pre_feedforward_layernorm.weight", {hidden}, dtype);
        add(layer + "post_feedforward_layernorm.weight", {hidden}, dtype);
      }
      if (stacked) add(layer + "self_attn.sinks", {q / 8}, dtype);
      if (family.starts_with("Qwen3") || gemma || config.value("use_qk_norm", false)) {
        add(layer + "self_attn.q_norm.weight", {8}, dtype);
        add(layer + "self_attn.k_norm.weight", {8}, dtype);
      }
      if (stacked) {
        stacked_experts(layer + "mlp.", 5, config["intermediate_size"].get<std::int64_t>(), dtype);
      } else if (family == "MixtralForCausalLM") {
        experts(layer + "block_sparse_moe.", 5, 40, {"w1", "w3", "w2"}, dtype);
      } else if (family == "Glm4MoeForCausalLM" && i >= config.value("first_k_dense_replace", 1)) {
        const std::int64_t count = config["n_routed_experts"],
                           shared = 16 * config.value("n_shared_experts", 1);
        experts(layer + "mlp.", static_cast<int>(count), 16, {"gate_proj", "up_proj", "down_proj"}, dtype);
        add(layer + "mlp.gate.e_score_correction_bias", {count}, dtype);
        projection(layer + "mlp.shared_experts.gate_proj", shared, hidden, false, dtype);
        projection(layer + "mlp.shared_experts.up_proj", shared, hidden, false, dtype);
        projection(layer + "mlp.shared_experts.down_proj", hidden, shared, false, dtype);
      } else if (family == "Qwen3MoeForCausalLM" && i != config.value("dense_layer", -1)) {
        experts(layer + "mlp.", 6, 16, {"gate_proj", "up_proj", "down_proj"}, dtype);
      } else {
        projection(layer + "mlp.gate_proj", 40, hidden, mlp_bias, dtype);
        projection(layer + "mlp.up_proj", 40, hidden, mlp_bias, dtype);
        if (fused) fuse(layer + "mlp.gate_up_proj", 2);
        projection(layer + "mlp.down_proj", hidden, 40, mlp_bias, dtype);
      }
    }
    add("model.norm.weight", {hidden}, dtype);
    if (!config.value("tie_word_embeddings", family.starts_with("Gemma3")))
      add("lm_head.weight", {61, hidden}, dtype);
    write();
  }

  void write() const {
    directory.write("config.json", config.dump());
    directory.write("model.safetensors", safetensors_file(tensors));
  }

  TestTensor& tensor(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const TestTensor& t) { return t.name == name; });
  }

  void remove(const std::string& name) {
    std::erase_if(tensors, [&](const TestTensor& t) { return t.name == name; });
  }

  // For an Ops, or for a group of them.
  template <class Devices>
  Result<std::unique_ptr<Model>> load(Devices& devices, const LoadProgress& progress = {}) const {
    return load_model(directory.path(), devices, {.progress = progress});
  }

 private:
  // The newest projections become one, with a scale for each output where they have scales.
  void fuse(const std::string& name, std::size_t count) {
    const std::size_t each = config.contains("quantization_config") ? 2 : 1;
    const std::size_t first = tensors.size() - count * each;
    TestTensor weight{name + ".weight", tensors[first].dtype, {0, tensors[first].shape[1]}, {}};
    TestTensor scale{name + ".weight_scale", tensors.back().dtype, {0, 1}, {}};
    for (std::size_t i = first; i < tensors.size(); i += each) {
      const std::int64_t out = tensors[i].shape[0];
      weight.shape[0] += out;
      weight.bytes += tensors[i].bytes;
      if (each == 1) continue;
      scale.shape[0] += out;
      for (std::int64_t o = tensors[i + 1].shape.empty() ? out : 1; o > 0; --o)
        scale.bytes += tensors[i + 1].bytes;
    }
    tensors.resize(first);
    tensors.push_back(std::move(weight));
    if (each == 2) tensors.push_back(std::move(scale));
  }

  void experts(const std::string& block, int count, std::int64_t ffn, std::array<const char*, 3> names,
               const std::string& dtype) {
    add(block + "gate.weight", {count, 24}, dtype);
    for (int e = 0; e < count; ++e) {
      const std::string expert = block + "experts." + std::to_string(e) + ".";
      projection(expert + names[0], ffn, 24, false, dtype);
      projection(expert + names[1], ffn, 24, false, dtype);
      projection(expert + names[2], 24, ffn, false, dtype);
    }
  }

  // gpt-oss' experts: tensors for all of them, in floats or, where config.json says so, in MXFP4. In
  // `weights` under the names that Mixtral's family would have.
  void stacked_experts(const std::string& block, std::int64_t count, std::int64_t ffn,
                       const std::string& dtype) {
    const std::int64_t hidden = config["hidden_size"];
    add(block + "router.weight", {count, hidden}, dtype);
    add(block + "router.bias", {count}, dtype);
    stack(block + "experts.", "gate_up_proj", {"w1", "w3"}, {count, 2 * ffn, hidden}, dtype);
    stack(block + "experts.", "down_proj", {"w2"}, {count, hidden, ffn}, dtype);
  }

  struct StackSize {
    std::int64_t count, out, in;
  };
  // Output o of the tensor is output o / parts of part o % parts.
  void stack(const std::string& prefix, const std::string& name, const std::vector<std::string>& parts,
             StackSize size, const std::string& dtype) {
    const bool codes = config.contains("quantization_config");
    std::vector<float> across(static_cast<std::size_t>(size.count * size.out * size.in));
    std::string blocks, scales;
    const auto [count, out, in] = size;
    for (std::int64_t e = 0; e < count; ++e) {
      for (std::int64_t o = 0; o < out; ++o) {
        const auto taking_turns = static_cast<std::int64_t>(parts.size());
        auto& row = weights[prefix + std::to_string(e) + '.' +
                            parts[static_cast<std::size_t>(o % taking_turns)] + ".weight"];
        for (std::int64_t i = 0; i < in; ++i) {
          constexpr float kValues[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
          if (codes && i % 32 == 0) scales += static_cast<char>(122 + engine_() % 4);
          const auto code = static_cast<unsigned>(engine_() % 16);
          const float value = codes ? std::ldexp(code < 8 ? kValues[code] : -kValues[code - 8],
                                                 static_cast<unsigned char>(scales.back()) - 127)
                                    : (static_cast<float>(engine_() % 255) - 127) / 256;
          if (codes && i % 2 == 0) blocks += static_cast<char>(code);
          if (codes && i % 2 == 1) blocks.back() = static_cast<char>(blocks.back() | code << 4);
          row.push_back(value);
          across[static_cast<std::size_t>((e * in + i) * out + o)] = value;
        }
      }
    }
    if (codes) {
      tensors.push_back({prefix + name + "_blocks", "U8", {count, out, in / 32, 16}, blocks});
      tensors.push_back({prefix + name + "_scales", "U8", {count, out, in / 32}, scales});
    } else {
      tensors.push_back({prefix + name, dtype, {count, in, out}, encode(across, dtype)});
    }
    add(prefix + name + "_bias", {count, out}, dtype);
    const std::vector<float> biases = weights[prefix + name + "_bias"];
    for (std::size_t i = 0; i < biases.size(); ++i) {
      const std::size_t e = i / static_cast<std::size_t>(out), part = i % parts.size();
      weights[prefix + std::to_string(e) + '.' + parts[part] + ".bias"].push_back(biases[i]);
    }
  }

  void projection(const std::string& name, std::int64_t out, std::int64_t in, bool bias,
                  const std::string& dtype) {
    const bool fp8 =
        config.contains("quantization_config") && config["quantization_config"]["quant_method"] != "mxfp4";
    add(name + ".weight", {out, in}, fp8 ? "F8_E4M3" : dtype);
    if (bias) add(name + ".bias", {out}, dtype);
    if (fp8) scale(name, out, in);
  }

  // q, k and v one scale for each output, in bf16; the others one for all, in f32. Or one for each block.
  void scale(const std::string& name, std::int64_t out, std::int64_t in) {
    if (config["quantization_config"].contains("weight_block_size")) return scale_blocks(name, out, in);
    const bool by_output = name.find("self_attn") != std::string::npos;
    std::vector<float> scales(by_output ? static_cast<std::size_t>(out) : 1);
    for (float& value : scales) value = static_cast<float>(engine_() % 100 + 50) / 128;
    const std::string type = by_output ? "BF16" : "F32";
    std::vector<std::int64_t> shape;
    if (by_output) shape = {out, 1};
    tensors.push_back({name + ".weight_scale", type, shape, encode(scales, type)});
    std::vector<float>& values = weights[name + ".weight"];
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t i = 0; i < in; ++i)
        values[static_cast<std::size_t>(o * in + i)] *= scales[by_output ? static_cast<std::size_t>(o) : 0];
  }

  void scale_blocks(const std::string& name, std::int64_t out, std::int64_t in) {
    const nlohmann::json& size = config["quantization_config"]["weight_block_size"];
    const std::int64_t down = (out + size[0].get<int>() - 1) / size[0].get<int>();
    const std::int64_t across = (in + size[1].get<int>() - 1) / size[1].get<int>();
    std::vector<float> scales(static_cast<std::size_t>(down * across));
    for (float& value : scales) value = static_cast<float>(engine_() % 100 + 50) / 128;
    tensors.push_back({name + ".weight_scale_inv", "F32", {down, across}, encode(scales, "F32")});
    std::vector<float>& values = weights[name + ".weight"];
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t i = 0; i < in; ++i)
        values[static_cast<std::size_t>(o * in + i)] *=
            scales[static_cast<std::size_t>(o / size[0].get<int>() * across + i / size[1].get<int>())];
  }

  void add(const std::string& name, std::vector<std::int64_t> shape, const std::string& dtype) {
    std::int64_t size = 1;
    for (const std::int64_t n : shape) size *= n;
    const bool norm = name.find("norm") != std::string::npos;
    std::vector<float> values(static_cast<std::size_t>(size));
    for (float& value : values) {
      int k = static_cast<int>(engine_() % 255) - 127;
      if (dtype == "F8_E4M3") k = k / 8 * 8;  // four significant bits
      value = norm ? static_cast<float>(128 + k / 4) / 128 : static_cast<float>(k) / 256;
    }
    tensors.push_back({name, dtype, std::move(shape), encode(values, dtype)});
    weights[name] = std::move(values);
    inputs[name] = static_cast<std::size_t>(tensors.back().shape.back());
  }

  std::mt19937 engine_{17};
};

inline float meaning(std::byte code) {
  float value = 0;
  convert_values(&code, DType::e4m3, 1, DType::f32, reinterpret_cast<std::byte*>(&value));
  return value;
}

// What the projections' weights are after rounding to e4m3; [out, in] rows.
inline void round_weights(std::vector<float>& weights, std::size_t in) {
  std::vector<std::byte> codes(in);
  for (std::size_t row = 0; row < weights.size() / in; ++row) {
    const std::span<float> values(weights.data() + row * in, in);
    const float scale = quantise_to_e4m3(values, codes);
    for (std::size_t i = 0; i < in; ++i) values[i] = meaning(codes[i]) * scale;
  }
}

// On the CPU; a thread for each rank where no number is given.
inline std::unique_ptr<OpsGroup> group_of(std::int32_t width, int threads = 0) {
  auto made = make_ops_group({.threads = threads == 0 ? width : threads}, width);
  REQUIRE(made);
  return *std::move(made);
}

inline Tokens some_tokens(int count) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((i * i * 7 + i * 13 + 5) % 61);
  return tokens;
}

inline double worst_difference(const Logits& logits, const Values& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - expected[i]));
  return worst;
}

}  // namespace baton::test
