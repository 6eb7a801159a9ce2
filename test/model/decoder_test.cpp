// The forward pass: against a naive oracle on tiny random checkpoints (every family, rope type, biases, GQA,
// dtypes), the 199 golden ids of stories260K, sameness over chunks, blocks and batches, and what a bad
// checkpoint is told.
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "baton/model/model.hpp"
#include "checkpoint_writer.hpp"
#include "oracle.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"

namespace baton {
namespace {

using nlohmann::json;
using test::TempDirectory;
using test::TestTensor;
using Tokens = std::vector<std::int32_t>;
using Logits = std::vector<float>;

std::unique_ptr<Ops> ops() {
  auto made = make_ops({{}, 2, "auto"});
  REQUIRE(made);
  return *std::move(made);
}

// One sequence's paged cache, its blocks out of order, driven by hand.
class Runner {
 public:
  Runner(Model& model, Ops& ops, std::int32_t block_size, std::int32_t tokens = 256)
      : model_(model), ops_(ops), spec_(model.kv_spec(block_size)) {
    kv_.layout = spec_.layout;
    kv_.blocks = tokens / block_size + 1;
    memory_.resize(kv_.layout.block_bytes() * static_cast<std::size_t>(kv_.blocks), std::byte{0x7f});
    kv_.base = memory_.data();
    table_.resize(static_cast<std::size_t>(kv_.blocks));
    std::iota(table_.rbegin(), table_.rend(), 0);
    std::swap(table_.front(), table_[table_.size() / 2]);
  }

  // Logits of the last `wanted` of these tokens, one after the other.
  Logits feed(const Tokens& tokens, int wanted = 1) {
    Batch batch;
    batch.tokens = tokens;
    batch.sequences.push_back({0, static_cast<std::int32_t>(tokens.size()), position_, 0});
    batch.block_table = table_;
    for (std::size_t i = 0; i < tokens.size(); ++i) batch.positions.push_back(position_++);
    for (int i = wanted; i > 0; --i) batch.logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - i);
    const Tensor out = model_.forward(batch, kv_, ops_);
    CHECK(out.rows == wanted);
    if (wanted == 0) return {};
    const auto values = ops_.to_host(out);
    return {values.begin(), values.end()};
  }

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

std::int32_t argmax(const Logits& logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Weights that F32, F16 and BF16 all hold exactly.
std::string encode(const std::vector<float>& values, const std::string& dtype) {
  if (dtype == "F32") return test::f32_bytes(values);
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
  json config;
  std::vector<TestTensor> tensors;
  std::map<std::string, std::vector<float>> weights;

  explicit TinyModel(const char* patch = "{}", const std::string& dtype = "F32") {
    config = json::parse(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 24,
      "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
      "head_dim": 8, "vocab_size": 61, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
      "torch_dtype": "float32", "eos_token_id": 2})");
    config.merge_patch(json::parse(patch));
    const std::int64_t hidden = 24;
    const std::int64_t q = config["num_attention_heads"].get<std::int64_t>() * 8;
    const std::int64_t kv = config["num_key_value_heads"].get<std::int64_t>() * 8;
    const auto family = config["architectures"][0].get<std::string>();
    const bool output_bias = config.value("attention_bias", false);
    const bool bias = output_bias || family == "Qwen2ForCausalLM";
    const bool mlp_bias = config.value("mlp_bias", false);
    add("model.embed_tokens.weight", {61, hidden}, dtype);
    for (int i = 0; i < 3; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      add(layer + "input_layernorm.weight", {hidden}, dtype);
      add(layer + "post_attention_layernorm.weight", {hidden}, dtype);
      projection(layer + "self_attn.q_proj", q, hidden, bias, dtype);
      projection(layer + "self_attn.k_proj", kv, hidden, bias, dtype);
      projection(layer + "self_attn.v_proj", kv, hidden, bias, dtype);
      projection(layer + "self_attn.o_proj", hidden, q, output_bias, dtype);
      if (family.starts_with("Qwen3")) {
        add(layer + "self_attn.q_norm.weight", {8}, dtype);
        add(layer + "self_attn.k_norm.weight", {8}, dtype);
      }
      if (family == "MixtralForCausalLM") {
        experts(layer + "block_sparse_moe.", 5, 40, {"w1", "w3", "w2"}, dtype);
      } else if (family == "Qwen3MoeForCausalLM" && i != config.value("dense_layer", -1)) {
        experts(layer + "mlp.", 6, 16, {"gate_proj", "up_proj", "down_proj"}, dtype);
      } else {
        projection(layer + "mlp.gate_proj", 40, hidden, mlp_bias, dtype);
        projection(layer + "mlp.up_proj", 40, hidden, mlp_bias, dtype);
        projection(layer + "mlp.down_proj", hidden, 40, mlp_bias, dtype);
      }
    }
    add("model.norm.weight", {hidden}, dtype);
    if (!config.value("tie_word_embeddings", false)) add("lm_head.weight", {61, hidden}, dtype);
    write();
  }

  void write() const {
    directory.write("config.json", config.dump());
    directory.write("model.safetensors", test::safetensors_file(tensors));
  }

  TestTensor& tensor(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const TestTensor& t) { return t.name == name; });
  }

  void remove(const std::string& name) {
    std::erase_if(tensors, [&](const TestTensor& t) { return t.name == name; });
  }

  Result<std::unique_ptr<Model>> load(Ops& ops, const LoadProgress& progress = {}) const {
    return load_model(directory.path(), ops, progress);
  }

 private:
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

  void projection(const std::string& name, std::int64_t out, std::int64_t in, bool bias,
                  const std::string& dtype) {
    const bool fp8 = config.contains("quantization_config");
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
    const json& size = config["quantization_config"]["weight_block_size"];
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
  }

  std::mt19937 engine_{17};
};

Tokens some_tokens(int count) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((i * i * 7 + i * 13 + 5) % 61);
  return tokens;
}

double worst_difference(const Logits& logits, const test::Values& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - expected[i]));
  return worst;
}

}  // namespace

TEST_CASE("the forward pass agrees with the oracle") {
  const char* patch = GENERATE(
      "{}", R"({"tie_word_embeddings": true})", R"({"attention_bias": true})", R"({"mlp_bias": true})",
      R"({"attention_bias": true, "mlp_bias": true, "num_key_value_heads": 6})",
      R"({"num_attention_heads": 4, "num_key_value_heads": 1})",
      R"({"rope_scaling": {"type": "linear", "factor": 4}})",
      R"({"rope_scaling": {"type": "dynamic", "factor": 3}})",
      R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16}})",
      R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                           "original_max_position_embeddings": 64}, "rope_theta": 50.0})",
      R"({"architectures": ["MistralForCausalLM"], "sliding_window": null})",
      R"({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": false, "sliding_window": 16})",
      R"({"architectures": ["Qwen3ForCausalLM"]})",
      R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": true})",
      R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})",
      R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
          "moe_intermediate_size": 16, "norm_topk_prob": true})",
      R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
          "moe_intermediate_size": 16, "mlp_only_layers": [1], "dense_layer": 1})",
      R"({"attention_bias": true, "quantization_config": {"quant_method": "fbgemm_fp8"}})",
      R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2,
          "quantization_config": {"quant_method": "fp8"}})",
      R"({"attention_bias": true, "quantization_config": {"quant_method": "fp8", "weight_block_size": [5, 7]}})",
      R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
          "moe_intermediate_size": 16,
          "quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 128]}})");
  CAPTURE(patch);
  const TinyModel tiny(patch);
  const auto device = ops();
  auto model = tiny.load(*device);
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, *device, 4);
  const Tokens tokens = some_tokens(41);
  std::ptrdiff_t begin = 0;
  for (const std::ptrdiff_t end : {1, 7, 33, 41}) {
    const Logits logits = runner.feed({tokens.begin() + begin, tokens.begin() + end});
    CAPTURE(end);
    CHECK(worst_difference(logits, oracle.logits({tokens.begin(), tokens.begin() + end})) < 2e-4);
    begin = end;
  }
}

TEST_CASE("FP8 where it cannot be, or without its scale, is refused by name") {
  TinyModel tiny(R"({"quantization_config": {"quant_method": "fp8"}})");
  const auto device = ops();
  const auto field = [&] {
    tiny.write();
    const auto loaded = tiny.load(*device);
    return loaded ? std::string("loaded") : loaded.error().field;
  };
  CHECK(field() == "loaded");
  TestTensor& scale = tiny.tensor("model.layers.1.self_attn.v_proj.weight_scale");
  const TestTensor good = scale;
  scale = {good.name, "F32", {2}, test::f32_bytes({1, 1})};
  CHECK(field() == good.name);
  scale = {good.name, "F32", {1}, test::f32_bytes({std::nanf("")})};
  CHECK(field() == good.name);
  scale = good;
  TestTensor& norm = tiny.tensor("model.norm.weight");
  norm = {norm.name, "F8_E4M3", {24}, std::string(24, '\x38')};
  CHECK(field() == norm.name);
  norm = {norm.name, "F32", {24}, test::f32_bytes(std::vector<float>(24, 1.0F))};
  tiny.remove(good.name);
  CHECK(field() == good.name);
}

TEST_CASE("FP8 in blocks wants a scale for each of them") {
  TinyModel tiny(R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}})");
  const auto device = ops();
  const auto loaded = [&] {
    tiny.write();
    auto model = tiny.load(*device);
    return model ? to_hex((*model)->fingerprint()) : model.error().field + ": " + model.error().message;
  };
  const std::string good = loaded();
  CHECK(good.find(':') == std::string::npos);
  TestTensor& scales = tiny.tensor("model.layers.1.mlp.down_proj.weight_scale_inv");
  std::swap(scales.shape[0], scales.shape[1]);  // as many, of other blocks
  CHECK(loaded().find("of shape [2, 3]") != std::string::npos);
  std::swap(scales.shape[0], scales.shape[1]);
  tiny.config["quantization_config"]["weight_block_size"] = {16, 24};  // as many scales, other blocks
  CHECK(loaded() != good);
  tiny.config["quantization_config"]["weight_block_size"] = {128, 8};
  CHECK(loaded().find("_scale_inv: ") != std::string::npos);
  CHECK(loaded().find("of shape [1, 3]") != std::string::npos);
  tiny.config["quantization_config"].erase("weight_block_size");
  CHECK(loaded().find(".weight_scale: ") != std::string::npos);
}

TEST_CASE("FP8 in blocks may have biases of a type of their own") {
  TinyModel tiny(
      R"({"attention_bias": true, "quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}})");
  for (TestTensor& tensor : tiny.tensors) {
    if (!tensor.name.ends_with(".bias")) continue;
    tensor.dtype = "BF16";
    tensor.bytes = encode(tiny.weights.at(tensor.name), "BF16");
  }
  tiny.write();
  const auto device = ops();
  auto model = tiny.load(*device);
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, *device, 4);
  const Tokens tokens = some_tokens(20);
  CHECK(worst_difference(runner.feed(tokens), oracle.logits(tokens)) < 2e-4);
}

TEST_CASE("half-precision checkpoints agree with the oracle, as far as their cache allows") {
  const std::string dtype = GENERATE("BF16", "F16");
  CAPTURE(dtype);
  const TinyModel tiny(R"({"attention_bias": true, "torch_dtype": "bfloat16"})", dtype);
  const auto device = ops();
  auto model = tiny.load(*device);
  REQUIRE(model);
  CHECK((*model)->config().weights == (dtype == "BF16" ? DType::bf16 : DType::f16));
  CHECK((*model)->kv_spec(4).layout.dtype == DType::bf16);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, *device, 4);
  const Tokens tokens = some_tokens(20);
  CHECK(worst_difference(runner.feed(tokens), oracle.logits(tokens)) < 0.1);
}

TEST_CASE("chunks, blocks and batches change no bit") {
  const char* patch = GENERATE(R"({"attention_bias": true})",
                               R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6,
          "num_experts_per_tok": 3, "moe_intermediate_size": 16, "norm_topk_prob": true})");
  CAPTURE(patch);
  const TinyModel tiny(patch);
  const auto device = ops();
  auto model = tiny.load(*device);
  REQUIRE(model);
  const Tokens tokens = some_tokens(50);
  const auto one = [&] { return Runner(**model, *device, 16); };
  Runner whole = one();
  const Logits all = whole.feed(tokens, 50);  // every row's logits
  const Logits expected(all.end() - 61, all.end());
  CHECK(one().feed(tokens) == expected);
  for (const int block_size : {1, 8, 16, 32}) {
    for (const int chunk : {1, 3, 16}) {
      CAPTURE(block_size, chunk);
      Runner runner(**model, *device, block_size);
      for (int begin = 0; begin < 50; begin += chunk) {
        const int end = std::min(begin + chunk, 50);
        const bool last = end == 50;  // the others want no logits: the last layer then only fills the cache
        const Logits logits = runner.feed({tokens.begin() + begin, tokens.begin() + end}, last ? 1 : 0);
        if (last) CHECK(logits == expected);
      }
    }
  }
  SECTION("two sequences in one batch") {
    Runner runner(**model, *device, 8, 128);
    Batch batch;
    const Tokens other = some_tokens(9);
    batch.tokens = other;
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    for (int i = 0; i < 9; ++i) batch.positions.push_back(i);
    for (int i = 0; i < 50; ++i) batch.positions.push_back(i);
    batch.block_table = runner.table();
    batch.sequences = {{0, 9, 0, 0}, {9, 50, 0, 2}};
    batch.logit_rows = {8, 58};
    const auto values = device->to_host((*model)->forward(batch, runner.kv(), *device));
    CHECK(Logits(values.begin() + 61, values.end()) == expected);
    const Logits first(values.begin(), values.begin() + 61);
    CHECK(one().feed(other) == first);
  }
}

TEST_CASE("stories260K: the 199 golden ids") {
  const auto directory = test::shared_data("models/stories260K");
  if (!directory) return test::skipped("stories260K golden ids", "shared");
  std::ifstream file(*directory / "golden.json");
  const json golden = json::parse(file);
  const auto ids = golden["greedy_ids"].get<Tokens>();
  const auto prompt = golden["prompt_ids"].get<Tokens>();
  REQUIRE(ids.size() == 199);
  const auto device = ops();
  auto model = load_model(*directory, *device);
  REQUIRE(model);
  CHECK((*model)->config().generation.eos_token_ids == Tokens{2});

  Tokens full = prompt;
  full.insert(full.end(), ids.begin(), ids.end() - 1);
  std::vector<Logits> steps;  // one token at a time, block size 16
  for (const int block_size : {16, 8, 32}) {
    CAPTURE(block_size);
    Runner runner(**model, *device, block_size);
    Logits logits = runner.feed(prompt);
    Tokens generated;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (block_size == 16)
        steps.push_back(logits);
      else
        CHECK(logits == steps[i]);
      generated.push_back(argmax(logits));
      if (i + 1 < ids.size()) logits = runner.feed({generated.back()});
    }
    CHECK(generated == ids);
    for (const int chunk : {16, 199}) {
      Runner again(**model, *device, block_size);
      for (int begin = 0; begin < 199; begin += chunk) {
        const int end = std::min(begin + chunk, 199);
        const Logits rows = again.feed({full.begin() + begin, full.begin() + end}, end - begin);
        for (int i = begin; i < end; ++i)
          CHECK(std::equal(steps[i].begin(), steps[i].end(), rows.begin() + (i - begin) * 512));
      }
    }
  }
}

TEST_CASE("loading reports its progress") {
  const TinyModel tiny;
  const auto device = ops();
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  REQUIRE(tiny.load(*device, [&](std::uint64_t done, std::uint64_t all) {
    CHECK(done > last);
    CHECK((total == 0 || total == all));
    last = done;
    total = all;
  }));
  std::uint64_t bytes = 0;
  for (const TestTensor& tensor : tiny.tensors) bytes += tensor.bytes.size();
  CHECK(total == bytes);
  CHECK(last == bytes);
}

TEST_CASE("fingerprints tell models apart") {
  const auto device = ops();
  const auto fingerprint = [&](const TinyModel& tiny) {
    auto model = tiny.load(*device);
    REQUIRE(model);
    return (*model)->fingerprint();
  };
  TinyModel tiny;
  const Hash128 original = fingerprint(tiny);
  CHECK(fingerprint(TinyModel()) == original);
  SECTION("one bit of one weight") {
    tiny.tensor("model.layers.2.mlp.down_proj.weight").bytes[77] ^= 1;
    tiny.write();
    CHECK(fingerprint(tiny) != original);
  }
  SECTION("two tensors swapped") {
    std::swap(tiny.tensor("model.layers.0.mlp.gate_proj.weight").bytes,
              tiny.tensor("model.layers.0.mlp.up_proj.weight").bytes);
    tiny.write();
    CHECK(fingerprint(tiny) != original);
  }
  SECTION("a fact of the config") {
    CHECK(fingerprint(TinyModel(R"({"rms_norm_eps": 1e-6})")) != original);
    CHECK(fingerprint(TinyModel(R"({"rope_theta": 20000})")) != original);
    CHECK(fingerprint(TinyModel(R"({"max_position_embeddings": 127})")) != original);
  }
  SECTION("what does not matter") {
    tiny.config["eos_token_id"] = 5;
    tiny.config["anything"] = "else";
    tiny.tensors.push_back({"unused.weight", "F32", {1}, std::string(4, '\1')});
    std::rotate(tiny.tensors.begin(), tiny.tensors.begin() + 3, tiny.tensors.end());
    tiny.write();
    CHECK(fingerprint(tiny) == original);
  }
}

TEST_CASE("a checkpoint that does not fit its config is refused before anything is packed") {
  const auto device = ops();
  TinyModel tiny(R"({"attention_bias": true})");
  bool packed = false;
  const auto error = [&] {
    tiny.write();
    auto model = tiny.load(*device, [&](std::uint64_t, std::uint64_t) { packed = true; });
    REQUIRE_FALSE(model);
    CHECK_FALSE(packed);
    return model.error();
  };
  SECTION("missing weight") {
    tiny.remove("model.layers.2.self_attn.k_proj.weight");
    CHECK(error().message ==
          "the checkpoint has no tensor 'model.layers.2.self_attn.k_proj.weight', expected with shape [16, "
          "24]");
  }
  SECTION("missing bias") {
    tiny.remove("model.layers.1.self_attn.o_proj.bias");
    CHECK(error().field == "model.layers.1.self_attn.o_proj.bias");
  }
  SECTION("missing lm_head where embeddings are not tied") {
    tiny.remove("lm_head.weight");
    CHECK(error().field == "lm_head.weight");
  }
  SECTION("another shape than config.json says") {
    tiny.config["intermediate_size"] = 44;
    CHECK(error().message ==
          "model.safetensors: tensor 'model.layers.0.mlp.gate_proj.weight' has shape [40, 24], but "
          "config.json asks for [44, 24]");
  }
  SECTION("more layers than there are") {
    tiny.config["num_hidden_layers"] = 4;
    CHECK(error().field == "model.layers.3.input_layernorm.weight");
  }
  SECTION("fewer layers than there are") {
    tiny.config["num_hidden_layers"] = 2;
    CHECK(error().field == "num_hidden_layers");
  }
  SECTION("biases that the config knows nothing of") {
    tiny.config["attention_bias"] = false;
    CHECK(error().message ==
          "the checkpoint has the tensor 'model.layers.0.self_attn.q_proj.bias', which config.json does not "
          "ask "
          "for: check attention_bias or mlp_bias");
  }
  SECTION("an integer weight") {
    TestTensor& norm = tiny.tensor("model.norm.weight");
    norm.dtype = "I32";
    CHECK(error().code == ErrorCode::unsupported);
  }
  SECTION("a bias of another dtype than its weight") {
    TestTensor& bias = tiny.tensor("model.layers.0.self_attn.q_proj.bias");
    bias.dtype = "BF16";
    bias.bytes.resize(bias.bytes.size() / 2);
    CHECK(error().message.find("another dtype (BF16) than its weight (F32)") != std::string::npos);
  }
}

TEST_CASE("a model directory that is not there") {
  const auto device = ops();
  CHECK(load_model("/nonexistent", *device).error().code == ErrorCode::not_found);
}

}  // namespace baton
