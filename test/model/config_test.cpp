// config.json and generation_config.json: what is read, what is refused and how, and rope tables against
// Hugging Face's.
#include "baton/model/config.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "baton/model/shape.hpp"
#include "small_config.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"

namespace baton {
namespace {

using nlohmann::json;
using test::base_config;
using test::parse;
using test::patched;

// 1 where equal; the distance in representable floats otherwise.
bool within_one_ulp(float a, float b) { return a == b || std::nextafter(a, b) == b; }

}  // namespace

TEST_CASE(
    "a model that was saved without its head is of its family, and has no other head than its embeddings") {
  const auto bare = parse(patched(R"({"architectures": ["Qwen3Model"], "tie_word_embeddings": false})"));
  REQUIRE(bare);
  CHECK(bare->architecture == "Qwen3ForCausalLM");
  CHECK(bare->head_norms);
  CHECK(bare->tied_embeddings);
  CHECK_FALSE(parse(patched(R"({"architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": false})"))
                  ->tied_embeddings);
  for (const char* other : {R"({"architectures": ["BertModel"]})", R"({"architectures": ["Model"]})"}) {
    const auto refused = parse(patched(other));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().field == "architectures");
  }
}

TEST_CASE("a Llama config is read") {
  const auto c = parse(base_config());
  REQUIRE(c);
  CHECK(c->architecture == "LlamaForCausalLM");
  CHECK(c->hidden == 64);
  CHECK(c->layers == 5);
  CHECK(c->query_heads == 8);
  CHECK(c->kv_heads == 4);
  CHECK(c->head_dim == 8);
  CHECK(c->ffn == 172);
  CHECK(c->vocab == 512);
  CHECK(c->max_positions == 512);
  CHECK(c->norm_epsilon == 1e-5F);
  CHECK(c->tied_embeddings);
  CHECK_FALSE(c->attention_bias);
  CHECK_FALSE(c->mlp_bias);
  CHECK(c->weights == DType::f32);
  CHECK(c->bos_token_id == 1);
  CHECK(c->generation.eos_token_ids == std::vector<std::int32_t>{2});
  CHECK_FALSE(c->generation.temperature);
}

TEST_CASE("what a family's code fixes is not asked of its config") {
  const auto qwen2 = parse(patched(R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64})"));
  REQUIRE(qwen2);
  CHECK(qwen2->attention_bias);
  CHECK_FALSE(qwen2->attention_output_bias);
  CHECK_FALSE(qwen2->head_norms);
  const auto mistral = parse(
      patched(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 512, "attention_bias": true})"));
  REQUIRE(mistral);
  CHECK_FALSE(mistral->attention_bias);
  const auto qwen3 = parse(patched(R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": true})"));
  REQUIRE(qwen3);
  CHECK(qwen3->attention_output_bias);
  CHECK(qwen3->head_norms);
  CHECK_FALSE(qwen3->has_experts(0));
}

TEST_CASE("FP8 checkpoints are known by their quantization_config") {
  for (const char* quantization :
       {R"({"quant_method": "fp8", "activation_scheme": "static"})", R"({"quant_method": "fbgemm_fp8"})",
        R"({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]})",
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0":
            {"weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": true},
             "input_activations": {"num_bits": 8, "dynamic": true}, "targets": ["Linear"]}}})"}) {
    CAPTURE(quantization);
    json config = base_config();
    CHECK(parse(config)->fp8 == Fp8::none);
    config["quantization_config"] = json::parse(quantization);
    const auto read = parse(config);
    REQUIRE(read);
    CHECK(read->fp8 == Fp8::products);
    CHECK(shape_of(*read).stored == Precision::fp8);
    const auto planned = parse_model_shape(config.dump());
    REQUIRE(planned);
    CHECK(planned->stored == Precision::fp8);
  }
}

TEST_CASE("FP8 checkpoints that leave activations alone are known too") {
  const auto fp8 = [](const char* activations) {
    json config = base_config();
    config["quantization_config"] = json::parse(
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0":
            {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "input_activations": {"num_bits": 8}},
            "group_1": {"weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}}})");
    if (activations)
      config["quantization_config"]["config_groups"]["group_1"]["input_activations"] =
          json::parse(activations);
    const auto read = parse(config);
    REQUIRE(read);
    return read->fp8;
  };
  CHECK(fp8(nullptr) == Fp8::weights);
  CHECK(fp8("null") == Fp8::weights);
  CHECK(fp8(R"({"num_bits": 8})") == Fp8::products);
}

TEST_CASE("weights of 4 and 8 bits are known by their quantization_config") {
  using Kind = PackedWeights::Kind;
  const auto packed = [](const char* quantization) {
    json config = base_config();
    config["quantization_config"] = json::parse(quantization);
    const auto read = parse(config);
    if (!read) FAIL(read.error().message);
    CHECK(read->fp8 == Fp8::none);
    CHECK(shape_of(*read).stored == Precision::f32);  // as an engine has them
    const auto planned = parse_model_shape(config.dump());
    REQUIRE(planned);
    CHECK(planned->stored == Precision::int4);
    return read->packed;
  };
  CHECK(packed(R"({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": true,
                   "modules_to_not_convert": null})") == PackedWeights{Kind::awq, 4, 128});
  CHECK(packed(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": -1, "version": "GEMM"})") ==
        PackedWeights{Kind::awq, 4, 0});
  CHECK(packed(R"({"quant_method": "gptq", "bits": 8, "group_size": 64, "desc_act": true, "sym": true,
                   "dynamic": {"-:.*lm_head.*": {}}, "lm_head": false, "pack_dtype": "int32"})") ==
        PackedWeights{Kind::gptq, 8, 64, false, true, true});
  CHECK(packed(R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"})") ==
        PackedWeights{Kind::gptq, 4, 0, false, false, false});
  CHECK(packed(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
                   "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null, "weights":
                     {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": false,
                      "actorder": "group", "dynamic": false}}}, "sparsity_config": {}})") ==
        PackedWeights{Kind::compressed, 4, 128, false, true});
  CHECK(packed(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups":
                   {"group_0": {"weights": {"num_bits": 8, "strategy": "channel", "actorder": "weight"}}}})") ==
        PackedWeights{Kind::compressed, 8, 0, true});
}

TEST_CASE("what is not known of weights of 4 and 8 bits is refused by its key") {
  const json good = {
      {"awq", {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}}},
      {"gptq", {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}, {"desc_act", true}}},
      {"compressed", json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
           "config_groups": {"g": {"weights": {"num_bits": 4, "strategy": "group", "group_size": 32}}}})")}};
  const auto [kind, patch, key] = GENERATE(table<const char*, const char*, const char*>(
      {{"awq", R"({"bits": 8})", "bits"},
       {"awq", R"({"bits": null})", "bits"},
       {"awq", R"({"version": "gemv"})", "version"},
       {"awq", R"({"version": "llm-awq"})", "version"},
       {"awq", R"({"checkpoint_format": "gemv_fast"})", "checkpoint_format"},
       {"awq", R"({"zero_point": false})", "zero_point"},
       {"awq", R"({"group_size": 0})", "group_size"},
       {"awq", R"({"group_size": null})", "group_size"},
       {"awq", R"({"pack_dtype": "int16"})", "pack_dtype"},
       {"gptq", R"({"bits": 3})", "bits"},
       {"gptq", R"({"bits": 2})", "bits"},
       {"gptq", R"({"group_size": -2})", "group_size"},
       {"gptq", R"({"group_size": -1})", "desc_act"},
       {"gptq", R"({"desc_act": 1})", "desc_act"},
       {"gptq", R"({"checkpoint_format": "marlin"})", "checkpoint_format"},
       {"gptq", R"({"format": "gptq_p"})", "format"},
       {"gptq", R"({"is_marlin_format": true})", "is_marlin_format"},
       {"gptq", R"({"rotation": "hadamard"})", "rotation"},
       {"gptq", R"({"dynamic": {"+:.*down.*": {"bits": 8}}})", "dynamic"},
       {"compressed", R"({"config_groups": null})", "config_groups"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"num_bits": 2}}}})",
        "config_groups.g.weights.num_bits"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"type": "float"}}}})",
        "config_groups.g.weights.type"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"strategy": "tensor"}}}})",
        "config_groups.g.weights.strategy"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"strategy": "channel"}}}})",
        "config_groups.g.weights.group_size"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"strategy": "channel", "group_size": -1,
                          "actorder": "group"}}}})",
        "config_groups.g.weights.actorder"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"group_size": 0}}}})",
        "config_groups.g.weights.group_size"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"dynamic": true}}}})",
        "config_groups.g.weights.dynamic"},
       {"compressed", R"({"config_groups": {"g": {"weights": {"actorder": "random"}}}})",
        "config_groups.g.weights.actorder"},
       {"compressed", R"({"config_groups": {"g": {"input_activations": {"num_bits": 8}}}})",
        "config_groups.g"},
       {"compressed", R"({"config_groups": {"g": {"weights": null}}})", "config_groups.g"},
       {"compressed", R"({"config_groups": {"h": {"weights": {"num_bits": 8, "strategy": "channel"}}}})",
        "config_groups"},
       {"compressed", R"({"sparsity_config": {"format": "sparse-24-bitmask"}})", "sparsity_config"},
       {"compressed", R"({"transform_config": {"config_groups": {}}})", "transform_config"}}));
  CAPTURE(kind, patch);
  json config = base_config();
  config["quantization_config"] = good[kind];
  CHECK(parse(config));
  config["quantization_config"].merge_patch(json::parse(patch));
  const auto refused = parse(config);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().field == std::string("quantization_config.") + key);
  CHECK(refused.error().message.find(key) != std::string::npos);
}

TEST_CASE("which layers have experts") {
  const auto mixtral = parse(patched(
      R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8, "num_experts_per_tok": 2})"));
  REQUIRE(mixtral);
  CHECK(mixtral->mixture.ffn == 172);
  CHECK(mixtral->mixture.renormalise);
  const auto experts = [](const ModelConfig& c) {
    std::string layers;
    for (std::int32_t i = 0; i < c.layers; ++i) layers += c.has_experts(i) ? 'E' : '-';
    return layers;
  };
  CHECK(experts(*mixtral) == "EEEEE");
  const auto qwen = parse(patched(R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 2, "mlp_only_layers": [3, 3]})"));
  REQUIRE(qwen);
  CHECK(experts(*qwen) == "-E---");
  CHECK(qwen->mixture.ffn == 8);
  CHECK_FALSE(qwen->mixture.renormalise);
}

TEST_CASE("defaults are Hugging Face's") {
  json config = base_config();
  for (const char* key : {"num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                          "hidden_act", "tie_word_embeddings", "bos_token_id", "eos_token_id", "torch_dtype"})
    config.erase(key);
  const auto c = parse(config);
  REQUIRE(c);
  CHECK(c->kv_heads == 8);
  CHECK(c->max_positions == 2048);
  CHECK(c->norm_epsilon == 1e-6F);
  CHECK_FALSE(c->tied_embeddings);
  CHECK(c->weights == DType::bf16);
  CHECK_FALSE(c->bos_token_id);
  CHECK(c->generation.eos_token_ids.empty());
}

TEST_CASE("an explicit head_dim, biases, the newer dtype key") {
  const auto c = parse(patched(
      R"({"head_dim": 32, "attention_bias": true, "mlp_bias": true, "torch_dtype": null, "dtype": "float16"})"));
  REQUIRE(c);
  CHECK(c->head_dim == 32);
  CHECK(c->rope.inv_frequency.size() == 16);
  CHECK(c->attention_bias);
  CHECK(c->mlp_bias);
  CHECK(c->weights == DType::f16);
}

TEST_CASE("generation_config.json decides where it speaks") {
  const auto c = parse(base_config(), R"({"eos_token_id": [7, 9], "temperature": 0.6, "top_p": 0.9,
                                          "top_k": 50, "repetition_penalty": 1.1, "do_sample": true})");
  REQUIRE(c);
  CHECK(c->generation.eos_token_ids == std::vector<std::int32_t>{7, 9});
  CHECK(c->generation.temperature == 0.6F);
  CHECK(c->generation.top_p == 0.9F);
  CHECK(c->generation.top_k == 50);
  CHECK(c->generation.repetition_penalty == 1.1F);
  const auto silent = parse(patched(R"({"eos_token_id": [3, 4]})"), R"({"max_new_tokens": 5})");
  REQUIRE(silent);
  CHECK(silent->generation.eos_token_ids == std::vector<std::int32_t>{3, 4});
}

TEST_CASE("what is wrong in config.json is named") {
  struct Case {
    const char* patch;
    ErrorCode code;
    const char* field;
    const char* says;
  };
  const auto c = GENERATE(from_range(std::vector<Case>{
      {R"({"architectures": ["GemmaForCausalLM"]})", ErrorCode::unsupported, "architectures",
       "\"GemmaForCausalLM\", which is not supported; supported: Gemma3ForCausalLM, "},
      {R"({"architectures": ["Qwen3ForCausalLM"], "layer_types":
           ["full_attention", "linear_attention", "full_attention", "full_attention", "full_attention"]})",
       ErrorCode::unsupported, "layer_types", "full_attention"},
      {R"({"architectures": ["MixtralForCausalLM"], "num_experts_per_tok": 2})", ErrorCode::invalid_argument,
       "num_experts", "missing"},
      {R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8})", ErrorCode::invalid_argument,
       "num_experts_per_tok", "missing"},
      {R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 513, "num_experts_per_tok": 2})",
       ErrorCode::invalid_argument, "num_local_experts", "from 1 to 512"},
      {R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "num_experts_per_tok": 3})",
       ErrorCode::invalid_argument, "num_experts_per_tok", "more than num_local_experts (2)"},
      {R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4, "num_experts_per_tok": 2})",
       ErrorCode::invalid_argument, "moe_intermediate_size", "missing"},
      {R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4, "num_experts_per_tok": 2,
           "moe_intermediate_size": 8, "mlp_only_layers": [5]})",
       ErrorCode::invalid_argument, "mlp_only_layers", "from 0 to 4"},
      {R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4, "num_experts_per_tok": 2,
           "moe_intermediate_size": 8, "decoder_sparse_step": 0})",
       ErrorCode::invalid_argument, "decoder_sparse_step", "from 1"},
      {R"({"architectures": null})", ErrorCode::invalid_argument, "architectures", "LlamaForCausalLM"},
      {R"({"architectures": []})", ErrorCode::invalid_argument, "architectures", "LlamaForCausalLM"},
      {R"({"architectures": "LlamaForCausalLM"})", ErrorCode::invalid_argument, "architectures", "list"},
      {R"({"hidden_size": null})", ErrorCode::invalid_argument, "hidden_size", "is missing"},
      {R"({"hidden_size": "64"})", ErrorCode::invalid_argument, "hidden_size",
       "is \"64\", must be an integer"},
      {R"({"hidden_size": 64.5})", ErrorCode::invalid_argument, "hidden_size", "64.5"},
      {R"({"hidden_size": 0})", ErrorCode::invalid_argument, "hidden_size", "is 0"},
      {R"({"hidden_size": -64})", ErrorCode::invalid_argument, "hidden_size", "is -64"},
      {R"({"hidden_size": 18446744073709551615})", ErrorCode::invalid_argument, "hidden_size", "from 1 to"},
      {R"({"num_hidden_layers": 100000})", ErrorCode::invalid_argument, "num_hidden_layers", "100000"},
      {R"({"num_attention_heads": 7})", ErrorCode::invalid_argument, "num_key_value_heads",
       "does not divide"},
      {R"({"num_attention_heads": 12, "num_key_value_heads": 4})", ErrorCode::invalid_argument,
       "num_attention_heads", "does not divide hidden_size (64)"},
      {R"({"num_attention_heads": 64, "num_key_value_heads": 64})", ErrorCode::invalid_argument,
       "num_attention_heads", "head_dim of 1"},
      {R"({"num_key_value_heads": 0})", ErrorCode::invalid_argument, "num_key_value_heads", "is 0"},
      {R"({"num_key_value_heads": 3})", ErrorCode::invalid_argument, "num_key_value_heads",
       "does not divide"},
      {R"({"head_dim": 7})", ErrorCode::invalid_argument, "head_dim", "must be even"},
      {R"({"head_dim": 4096})", ErrorCode::invalid_argument, "head_dim", "from 2 to 1024"},
      {R"({"intermediate_size": 2000000000})", ErrorCode::invalid_argument, "intermediate_size", "must be"},
      {R"({"vocab_size": 4194305})", ErrorCode::invalid_argument, "vocab_size", "from 1 to 4194304"},
      {R"({"max_position_embeddings": 0})", ErrorCode::invalid_argument, "max_position_embeddings", "is 0"},
      {R"({"rms_norm_eps": 0})", ErrorCode::invalid_argument, "rms_norm_eps", "above 0"},
      {R"({"rms_norm_eps": "tiny"})", ErrorCode::invalid_argument, "rms_norm_eps", "number"},
      {R"({"hidden_act": "gelu"})", ErrorCode::unsupported, "hidden_act", "'gelu'; supported: silu"},
      {R"({"torch_dtype": "float8_e4m3fn"})", ErrorCode::unsupported, "torch_dtype", "float8_e4m3fn"},
      {R"({"quantization_config": {"bits": 4}})", ErrorCode::unsupported, "quantization_config.quant_method",
       "is ''; supported: FP8 weights"},
      {R"({"quantization_config": 8})", ErrorCode::invalid_argument, "quantization_config", "an object"},
      {R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}})",
       ErrorCode::invalid_argument, "quantization_config.weight_block_size",
       "is [128], must be two integers"},
      {R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 0]}})",
       ErrorCode::invalid_argument, "quantization_config.weight_block_size", "from 1 to 65536"},
      {R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128.5, 128]}})",
       ErrorCode::invalid_argument, "quantization_config.weight_block_size", "from 1 to 65536"},
      {R"({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}})",
       ErrorCode::unsupported, "quantization_config.quant_algo", "NVFP4"},
      {R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}})",
       ErrorCode::unsupported, "quantization_config.format", "int-quantized"},
      {R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized",
           "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "block"}}}}})",
       ErrorCode::unsupported, "quantization_config.config_groups", "other weights"},
      {R"({"partial_rotary_factor": 0.5})", ErrorCode::unsupported, "partial_rotary_factor", "must be 1"},
      {R"({"tie_word_embeddings": 1})", ErrorCode::invalid_argument, "tie_word_embeddings", "true or false"},
      {R"({"attention_bias": "no"})", ErrorCode::invalid_argument, "attention_bias", "true or false"},
      {R"({"bos_token_id": 512})", ErrorCode::invalid_argument, "bos_token_id", "from 0 to 511"},
      {R"({"eos_token_id": -1})", ErrorCode::invalid_argument, "eos_token_id", "from 0 to 511"},
      {R"({"eos_token_id": [2, "x"]})", ErrorCode::invalid_argument, "eos_token_id", "list of token ids"},
      {R"({"rope_theta": 1})", ErrorCode::invalid_argument, "rope_theta", "above 1"},
      {R"({"rope_scaling": 4})", ErrorCode::invalid_argument, "rope_scaling", "must be an object"},
      {R"({"rope_scaling": {"type": "spiral"}})", ErrorCode::unsupported, "rope_scaling.type",
       "'spiral'; supported: default, linear, dynamic, yarn, llama3, longrope"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1]}})", ErrorCode::invalid_argument,
       "rope_scaling.short_factor", "a list of 4 numbers"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, 1, 0],
           "original_max_position_embeddings": 64}})",
       ErrorCode::invalid_argument, "rope_scaling.long_factor", "above 0"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 1, 1, 1],
           "original_max_position_embeddings": 1}})",
       ErrorCode::invalid_argument, "rope_scaling.original_max_position_embeddings", "at least 2"},
      {R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", ErrorCode::unsupported,
       "partial_rotary_factor", "must be 1"},
      {R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.4})", ErrorCode::invalid_argument,
       "partial_rotary_factor", "gives 3 rotated elements"},
      {R"({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 0, 1]})",
       ErrorCode::invalid_argument, "no_rope_layers", "a list of 5 numbers"},
      {R"({"rope_scaling": {"type": 3}})", ErrorCode::invalid_argument, "rope_scaling.type", "string"},
      {R"({"rope_scaling": {"type": "linear"}})", ErrorCode::invalid_argument, "rope_scaling.factor",
       "missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", ErrorCode::invalid_argument,
       "rope_scaling.factor", "from 1 to"},
      {R"({"max_position_embeddings": 16777216, "rope_scaling": {"type": "linear", "factor": 2}})",
       ErrorCode::invalid_argument, "rope_scaling", "stretches the context"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "high_freq_factor": 4}})",
       ErrorCode::invalid_argument, "rope_scaling.low_freq_factor", "missing"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "high_freq_factor": 4, "low_freq_factor": 4}})",
       ErrorCode::invalid_argument, "rope_scaling.high_freq_factor", "above low_freq_factor"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}})",
       ErrorCode::invalid_argument, "rope_scaling.beta_fast", "below beta_slow"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 0}})",
       ErrorCode::invalid_argument, "rope_scaling.original_max_position_embeddings", "is 0"},
      {R"({"rope_scaling": {"type": "dynamic", "factor": 2}, "head_dim": 2})", ErrorCode::unsupported,
       "rope_scaling", "head_dim above 2"},
  }));
  CAPTURE(c.patch);
  const auto result = parse(patched(c.patch));
  REQUIRE_FALSE(result);
  CHECK(to_string(result.error().code) == to_string(c.code));
  CHECK(result.error().field == c.field);
  CAPTURE(result.error().message);
  CHECK(result.error().message.starts_with("config.json: "));
  CHECK(result.error().message.find(c.field) != std::string::npos);
  CHECK(result.error().message.find(c.says) != std::string::npos);
}

TEST_CASE("LongRoPE has divisors for short contexts and for long ones") {
  const char* const patch = R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.5,
    "original_max_position_embeddings": 64,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [4.0, 8.0]}})";
  const auto read = [&](std::int32_t max_context) {
    auto config = parse_model_config(patched(patch).dump(), {}, max_context);
    REQUIRE(config);
    return *std::move(config);
  };
  const ModelConfig whole = read(0), few = read(64), more = read(65);
  CHECK(whole.rotary_dim == 4);
  CHECK(whole.rope.inv_frequency == std::vector<float>{0.25F, 0.00125F, 0.0F, 0.0F});
  CHECK(few.rope.inv_frequency == std::vector<float>{1.0F, 0.005F, 0.0F, 0.0F});
  CHECK(more.rope.inv_frequency == whole.rope.inv_frequency);
  const double factor = std::sqrt(1 + std::log(512.0 / 64) / std::log(64.0));
  CHECK(whole.rope.scale == static_cast<float>(factor));
  CHECK(few.rope.scale == whole.rope.scale);
}

TEST_CASE("Granite's multipliers become factors of what is added, of scores and of logits") {
  const auto c = parse(patched(R"({"architectures": ["GraniteForCausalLM"], "embedding_multiplier": 4,
    "residual_multiplier": 0.5, "logits_scaling": 8, "attention_multiplier": 0.25})"));
  REQUIRE(c);
  CHECK(c->residual_factor == 0.125F);
  CHECK(c->logits_factor == 0.125F);
  CHECK(c->attention_factor == 0.25F);
  CHECK(c->stream_epsilon == 1e-5F / 16);
  const auto llama = parse(patched(R"({"embedding_multiplier": 4})"));  // whose code knows no such key
  REQUIRE(llama);
  CHECK(llama->residual_factor == 1.0F);
  const auto wrong = parse(patched(R"({"architectures": ["GraniteForCausalLM"], "logits_scaling": 0})"));
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().field == "logits_scaling");
}

TEST_CASE("embeddings and output are tied where the family's own default is so") {
  json config = base_config();
  config.erase("tie_word_embeddings");
  CHECK_FALSE(parse(config)->tied_embeddings);
  CHECK_FALSE(parse_model_shape(config.dump(), "config.json")->tied);
  config["architectures"] = {"SmolLM3ForCausalLM"};
  CHECK(parse(config)->tied_embeddings);
  CHECK(parse_model_shape(config.dump(), "config.json")->tied);
  config["tie_word_embeddings"] = false;
  CHECK_FALSE(parse(config)->tied_embeddings);
}

TEST_CASE("layers without rotation are listed, or every fourth is one") {
  const auto layers = [](const char* patch) {
    const auto config = parse(patched(patch));
    REQUIRE(config);
    return config->unrotated_layers;
  };
  CHECK(layers(R"({"architectures": ["SmolLM3ForCausalLM"]})") == std::vector<std::int32_t>{3});
  CHECK(layers(R"({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [0, 1, 1, 0, 1]})") ==
        std::vector<std::int32_t>{0, 3});
  CHECK(layers(R"({"no_rope_layers": [0, 1, 1, 0, 1]})").empty());  // Llama's code has none
}

TEST_CASE("what is wrong in generation_config.json is named") {
  for (const auto& [text, field] :
       {std::pair{R"({"temperature": -1})", "temperature"}, std::pair{R"({"top_p": 2})", "top_p"},
        std::pair{R"({"top_k": -5})", "top_k"},
        std::pair{R"({"repetition_penalty": 0})", "repetition_penalty"},
        std::pair{R"({"eos_token_id": 512})", "eos_token_id"}, std::pair{"[]", ""}, std::pair{"{", ""}}) {
    const auto result = parse(base_config(), text);
    CAPTURE(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().field == field);
    CHECK(result.error().message.starts_with("generation_config.json: "));
  }
}

TEST_CASE("config.json that is no config") {
  CHECK(parse_model_config("", "").error().code == ErrorCode::corrupt);
  CHECK(parse_model_config("{\"a\": ", "").error().code == ErrorCode::corrupt);
  CHECK(parse_model_config("[1]", "").error().code == ErrorCode::corrupt);
  CHECK(parse_model_config(std::string(100'000, '['), "").error().code == ErrorCode::corrupt);
  CHECK(parse_model_config(std::string(17U << 20, ' '), "").error().code == ErrorCode::too_large);
  CHECK(load_model_config("/nonexistent").error().code == ErrorCode::not_found);
  const auto empty = std::filesystem::temp_directory_path();
  const auto result = load_model_config(empty / ".");
  if (!std::filesystem::exists(empty / "config.json")) CHECK(result.error().code == ErrorCode::not_found);
}

TEST_CASE("rope tables equal Hugging Face's") {
  std::ifstream file(test::source_dir() / "test/model/data/rope_golden.json");
  const json cases = json::parse(file);
  REQUIRE(cases.size() >= 13);
  for (const json& golden : cases) {
    CAPTURE(golden["name"].get<std::string>());
    json config = base_config();
    config["head_dim"] = golden["head_dim"];
    config["max_position_embeddings"] = golden["max_position_embeddings"];
    config["rope_theta"] = golden["rope_theta"];
    config["rope_scaling"] = golden["rope_scaling"];
    const auto c = parse(config);
    REQUIRE(c);
    const auto expected = golden["inv_freq"].get<std::vector<float>>();
    REQUIRE(c->rope.inv_frequency.size() == expected.size());
    // "dynamic" raises an already rounded base to a power: a few units in the last place more.
    const bool dynamic = golden["name"] == "dynamic";
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i, expected[i], c->rope.inv_frequency[i]);
      if (dynamic)
        CHECK(std::abs(c->rope.inv_frequency[i] / expected[i] - 1) < 1e-6F);
      else
        CHECK(within_one_ulp(c->rope.inv_frequency[i], expected[i]));
    }
    CHECK(c->rope.scale == golden["attention_factor"].get<float>());
  }
}

TEST_CASE("the context length includes rope scaling") {
  const auto positions = [](const char* patch) {
    const auto c = parse(patched(patch));
    REQUIRE(c);
    CHECK(c->rope.max_positions == c->max_positions);
    return c->max_positions;
  };
  CHECK(positions(R"({"rope_scaling": {"type": "linear", "factor": 4}})") == 2048);
  CHECK(positions(R"({"rope_scaling": {"type": "dynamic", "factor": 2.5}})") == 1280);
  CHECK(positions(R"({"rope_scaling": {"type": "yarn", "factor": 4}})") == 2048);
  CHECK(positions(R"({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 128}})") == 512);
  CHECK(positions(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                      "high_freq_factor": 4, "original_max_position_embeddings": 64}})") == 512);
  CHECK(positions(R"({"rope_scaling": {"rope_type": "default"}})") == 512);
}

TEST_CASE("rope_parameters, the newer spelling, means the same") {
  const auto older =
      parse(patched(R"({"rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 2}})"));
  const auto newer = parse(patched(
      R"({"rope_theta": null, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "linear", "factor": 2}})"));
  REQUIRE(older);
  REQUIRE(newer);
  CHECK(older->rope.inv_frequency == newer->rope.inv_frequency);
}

}  // namespace baton
