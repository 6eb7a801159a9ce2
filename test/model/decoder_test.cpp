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
#include "support/catch.hpp"
#include "support/test_data.hpp"
#include "tiny_model.hpp"

namespace baton {
namespace {

using nlohmann::json;
using test::argmax;
using test::encode;
using test::Logits;
using test::Runner;
using test::some_tokens;
using test::TestTensor;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;

std::unique_ptr<Ops> ops() {
  auto made = make_ops({{}, 2, "auto"});
  REQUIRE(made);
  return *std::move(made);
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
      R"({"architectures": ["GraniteForCausalLM"], "embedding_multiplier": 12, "residual_multiplier": 0.22,
          "logits_scaling": 8, "attention_multiplier": 0.0625})",
      R"({"architectures": ["Phi3ForCausalLM"]})",
      R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.75, "tie_word_embeddings": true,
          "original_max_position_embeddings": 64, "rope_scaling": {"type": "longrope",
          "short_factor": [1, 1, 1], "long_factor": [1, 2, 3.5]}})",
      R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.5,
          "quantization_config": {"quant_method": "fbgemm_fp8"}})",
      R"({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 0, 1]})",
      R"({"architectures": ["SeedOssForCausalLM"], "attention_bias": true, "attention_out_bias": true})",
      R"({"architectures": ["MistralForCausalLM"], "sliding_window": 9})",
      R"({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true, "sliding_window": 5,
          "max_window_layers": 1})",
      R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 9, "sliding_window_pattern": 2,
          "query_pre_attn_scalar": 20, "rope_local_base_freq": 50, "max_position_embeddings": 128,
          "rope_scaling": {"rope_type": "linear", "factor": 8}})",
      R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 512, "sliding_window_pattern": 3,
          "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 30}}})",
      R"({"architectures": ["GptOssForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2,
          "sliding_window": 8})",
      R"({"architectures": ["GptOssForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 4,
          "hidden_size": 32, "intermediate_size": 64, "quantization_config": {"quant_method": "mxfp4"},
          "rope_scaling": {"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 16,
                           "truncate": false}, "rope_theta": 150000})",
      R"({"architectures": ["Glm4MoeForCausalLM"], "attention_bias": true, "use_qk_norm": true,
          "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 16, "n_shared_experts": 2,
          "routed_scaling_factor": 1.5, "n_group": 4, "topk_group": 2})",
      R"({"architectures": ["Glm4MoeForCausalLM"], "n_routed_experts": 6, "num_experts_per_tok": 2,
          "moe_intermediate_size": 16, "norm_topk_prob": false, "first_k_dense_replace": 2,
          "partial_rotary_factor": 1.0})",
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

TEST_CASE("a head of its own is used whatever config.json says, a copy of the embeddings is none") {
  TinyModel tiny;  // has a head
  const auto device = ops();
  const auto logits = [&](const TinyModel& of) {
    of.write();
    auto model = of.load(*device);
    if (!model) FAIL(model.error().message);
    Runner runner(**model, *device, 4);
    return std::pair((*model)->fingerprint(), runner.feed(some_tokens(9)));
  };
  const auto [own, expected] = logits(tiny);
  tiny.config["tie_word_embeddings"] = true;
  CHECK(logits(tiny).second == expected);
  tiny.tensor("lm_head.weight").bytes = tiny.tensor("model.embed_tokens.weight").bytes;
  const Logits copied = logits(tiny).second;
  CHECK(copied != expected);
  tiny.remove("lm_head.weight");
  CHECK(logits(tiny).second == copied);
}

TEST_CASE("layers that predict further tokens are left out, others are not") {
  TinyModel tiny;
  const auto device = ops();
  const auto add_layer = [&](int index, bool predicts) {
    const std::string layer = "model.layers." + std::to_string(index) + ".";
    tiny.tensors.push_back({layer + "input_layernorm.weight", "F32", {24}, std::string(96, '\0')});
    if (predicts) tiny.tensors.push_back({layer + "eh_proj.weight", "F32", {1}, std::string(4, '\0')});
    tiny.write();
    return tiny.load(*device).has_value();
  };
  CHECK(add_layer(3, true));
  CHECK(add_layer(4, true));
  CHECK_FALSE(add_layer(5, false));
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
    const auto gemma = [&](const char* patch) {
      TinyModel made(R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 9, "rope_parameters":
          {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention":
          {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 64, "rope_theta": 30}}})");
      made.config.merge_patch(json::parse(patch));
      made.write();
      return fingerprint(made);
    };
    for (const char* patch :
         {R"({"sliding_window": 10})", R"({"sliding_window_pattern": 2})", R"({"query_pre_attn_scalar": 9})",
          R"({"rope_parameters": {"sliding_attention": {"rope_theta": 31}}})",
          R"({"rope_parameters": {"sliding_attention": {"attention_factor": 1.5}}})"})
      CHECK(gemma(patch) != gemma("{}"));
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
