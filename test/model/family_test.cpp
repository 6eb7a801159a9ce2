// config.json of the families that attend through sliding windows.
#include "small_config.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using nlohmann::json;
using test::parse;
using test::patched;

}  // namespace

TEST_CASE("which layers attend through a sliding window") {
  struct Windows {
    std::int32_t window = 0;
    std::vector<std::int32_t> layers;
    bool operator==(const Windows&) const = default;
  };
  const auto windows = [](const char* patch) {
    const auto config = parse(patched(patch));
    if (!config) FAIL(config.error().message);
    CHECK(config->max_positions == 512);
    return Windows{config->window, config->windowed_layers};
  };
  const Windows none, all{64, {0, 1, 2, 3, 4}};
  CHECK(windows(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 64})") == all);
  CHECK(windows(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 511})") ==
        Windows{511, {0, 1, 2, 3, 4}});
  CHECK(windows(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 512})") == none);
  CHECK(parse(patched(R"({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192})"))
            ->window == 4096);  // what its code has where the file is silent
  json null = patched(R"({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192})");
  null["sliding_window"] = nullptr;
  CHECK(parse(null)->window == 0);
  CHECK(windows(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 0})") == none);
  CHECK(windows(R"({"sliding_window": 64})") == none);  // Llama's code has none
  CHECK(windows(R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64})") == none);
  CHECK(windows(R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "use_sliding_window": true,
                    "max_window_layers": 3})") == Windows{64, {3, 4}});
  CHECK(windows(
            R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "use_sliding_window": true})") ==
        none);  // from layer 28 on
  CHECK(windows(R"({"architectures": ["Qwen3ForCausalLM"], "sliding_window": 64, "layer_types":
        ["full_attention", "sliding_attention", "full_attention", "full_attention", "sliding_attention"]})") ==
        Windows{64, {1, 4}});
  CHECK(
      windows(R"({"architectures": ["Qwen3MoeForCausalLM"], "sliding_window": 64, "use_sliding_window": true,
                    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8})") == all);
  CHECK(windows(R"({"architectures": ["SmolLM3ForCausalLM"], "sliding_window": 64, "use_sliding_window": true,
                    "no_rope_layers": [1, 0, 1, 1, 0]})") == Windows{64, {1, 4}});
  CHECK(
      windows(
          R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 64, "sliding_window_pattern": 3})") ==
      Windows{64, {0, 1, 3, 4}});
  CHECK(windows(R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 1024})") ==
        Windows{1024, {0, 1, 2, 3, 4}});  // no sequence outgrows it, but these layers rotate otherwise
  CHECK(windows(R"({"architectures": ["GptOssForCausalLM"], "sliding_window": 64, "num_local_experts": 4,
                    "rope_parameters": {"rope_type": "default"},
                    "num_experts_per_tok": 2})") == Windows{64, {0, 2, 4}});
  for (const char* types : {R"(["sliding_attention"])", R"("sliding_attention")", R"([1, 2, 3, 4, 5])",
                            R"(["chunked_attention", "full_attention", "full_attention", "full_attention",
                                "full_attention"])"}) {
    json config = patched(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 64})");
    config["layer_types"] = json::parse(types);
    const auto refused = parse(config);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().field == "layer_types");
  }
}

TEST_CASE("Gemma 3: its file may be silent, and its language model may be inside one that sees") {
  const auto silent = parse(json::parse(R"({"architectures": ["Gemma3ForCausalLM"]})"));
  if (!silent) FAIL(silent.error().message);
  CHECK(silent->hidden == 2304);
  CHECK(silent->head_dim == 256);
  CHECK(silent->vocab == 262208);
  CHECK(silent->max_positions == 131072);
  CHECK(silent->window == 4096);
  CHECK(silent->windowed_layers.size() == 22);
  CHECK(silent->tied_embeddings);
  CHECK(silent->norm_offset == 1.0F);
  CHECK(silent->residual_factor == 1 / 48.0F);
  CHECK(silent->attention_factor == 1 / 16.0F);
  CHECK(silent->generation.eos_token_ids == std::vector<std::int32_t>{1});

  const auto inside = parse(json::parse(R"({"architectures": ["Gemma3ForConditionalGeneration"],
    "eos_token_id": [1, 106], "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152},
    "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
      "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
      "sliding_window": 1024}})"));
  if (!inside) FAIL(inside.error().message);
  CHECK(inside->architecture == "Gemma3ForCausalLM");
  CHECK(inside->hidden == 2560);
  CHECK(inside->layers == 34);
  CHECK(inside->max_positions == 131072);       // linear, but of the length with it
  CHECK(inside->residual_factor == 1 / 50.5F);  // of the square root of 2560 in bf16
  CHECK(inside->rope.inv_frequency[0] == 0.125F);
  CHECK(inside->window_rope.inv_frequency[0] == 1.0F);
  CHECK(inside->window_rope.inv_frequency[64] == Approx(0.01));  // of 10000
  CHECK(inside->generation.eos_token_ids == std::vector<std::int32_t>{1, 106});

  // What generates may be said on either level.
  const auto both = parse(json::parse(R"({"architectures": ["Gemma3ForConditionalGeneration"],
    "eos_token_id": [1, 106], "tie_word_embeddings": false,
    "text_config": {"model_type": "gemma3_text", "eos_token_id": 1, "sliding_window": null}})"));
  if (!both) FAIL(both.error().message);
  CHECK(both->generation.eos_token_ids == std::vector<std::int32_t>{1, 106});
  CHECK_FALSE(both->tied_embeddings);
  CHECK(both->window == 0);  // null, which is not silence
  const auto tied = parse(json::parse(R"({"architectures": ["Gemma3ForConditionalGeneration"],
    "tie_word_embeddings": true, "text_config": {"model_type": "gemma3_text", "tie_word_embeddings": false}})"));
  REQUIRE(tied);
  CHECK(tied->tied_embeddings);

  const auto refused = [](const char* patch) {
    json config = json::parse(R"({"architectures": ["Gemma3ForCausalLM"]})");
    config.merge_patch(json::parse(patch));
    const auto read = parse(config);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == ErrorCode::unsupported);
    return read.error().field;
  };
  CHECK(refused(R"({"hidden_activation": "gelu"})") == "hidden_activation");
  CHECK(refused(R"({"final_logit_softcapping": 30})") == "final_logit_softcapping");
  CHECK(refused(R"({"attn_logit_softcapping": 50})") == "attn_logit_softcapping");
  CHECK(refused(R"({"use_bidirectional_attention": true})") == "use_bidirectional_attention");
  CHECK(refused(R"({"use_bidirectional_attention": "vision"})") == "use_bidirectional_attention");
  CHECK(refused(R"({"architectures": ["Mistral3ForConditionalGeneration"],
                    "text_config": {"model_type": "ministral3"}})") == "architectures");
}

TEST_CASE("gpt-oss as it is published") {
  json config =
      json::parse(R"({"architectures": ["GptOssForCausalLM"], "attention_bias": true, "head_dim": 64,
    "hidden_act": "silu", "hidden_size": 2880, "initial_context_length": 4096, "intermediate_size": 2880,
    "max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4,
    "experts_per_token": 4, "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32,
    "quantization_config": {"modules_to_not_convert": ["lm_head"], "quant_method": "mxfp4"},
    "rms_norm_eps": 1e-5, "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
    "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false}, "rope_theta": 150000,
    "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": false, "vocab_size": 201088,
    "eos_token_id": 200002})");
  const auto read = parse(config);
  if (!read) FAIL(read.error().message);
  CHECK(read->window == 128);
  CHECK(read->windowed_layers.size() == 12);
  CHECK(read->windowed_layers.front() == 0);
  CHECK(read->max_positions == 131072);
  CHECK(read->rope.scale == Approx(1.34657359));
  CHECK(read->sinks);
  CHECK(read->attention_output_bias);
  CHECK(read->mixture.one_tensor());
  CHECK(read->mixture.renormalise);
  CHECK(read->activation == Activation::clamped_silu);
  const auto scale = read->rope.scale;
  const auto frequencies = read->rope.inv_frequency;
  config.erase("rope_scaling");  // it is what the family's code has, too
  CHECK(parse(config)->rope.scale == scale);
  CHECK(parse(config)->rope.inv_frequency == frequencies);
  config["swiglu_limit"] = 6.0;
  CHECK(parse(config).error().field == "swiglu_limit");
  config["swiglu_limit"] = 7.0;
  config["architectures"] = {"LlamaForCausalLM"};
  CHECK(parse(config).error().field == "quantization_config.quant_method");
}

}  // namespace baton
