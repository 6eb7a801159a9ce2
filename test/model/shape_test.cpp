// ModelShape: the shipped models have the published parameter counts, and what is wrong is named.
#include "baton/model/shape.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "baton/model/capability.hpp"
#include "baton/model/config.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

const std::filesystem::path& folder() {
  static const std::filesystem::path models =
      std::string(std::getenv("BATON_SOURCE_DIR")) + "/configs/models";
  return models;
}

ModelShape shipped(const std::string& name) {
  std::ifstream in(folder() / (name + ".json"));
  std::stringstream text;
  text << in.rdbuf();
  auto shape = parse_model_shape(text.str(), name);
  INFO(name);
  REQUIRE(shape);
  return *shape;
}

}  // namespace

TEST_CASE("every shipped model parses") {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
    if (entry.path().extension() != ".json") continue;
    const std::filesystem::path name = std::filesystem::relative(entry.path(), folder()).replace_extension();
    const ModelShape shape = shipped(name.string());
    CHECK(shape.parameters() > 5e7);
    CHECK(shape.active_parameters() <= shape.parameters());
    CHECK_FALSE(shape.architecture.empty());
    ++count;
  }
  CHECK(count >= 12);
}

TEST_CASE("the engine reads every shipped model of a family that it runs, and as the planner does") {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = std::filesystem::relative(entry.path(), folder()).replace_extension().string();
    const ModelShape planned = shipped(name);
    const auto known = capability().architectures;
    if (std::ranges::find(known, planned.architecture) == known.end()) continue;
    INFO(name);
    std::ifstream in(entry.path());
    std::stringstream text;
    text << in.rdbuf();
    const auto config = parse_model_config(text.str(), {});
    REQUIRE(config);
    CHECK((config->window > 0) == (planned.window_layers > 0));
    const ModelShape read = shape_of(*config);
    CHECK(read.parameters() == planned.parameters());
    CHECK(read.active_parameters() == planned.active_parameters());
    CHECK(read.kv_elements() == planned.kv_elements());
    ++count;
  }
  CHECK(count >= 40);
}

TEST_CASE("fp8 weights run as they are, unless their scales are for blocks") {
  ModelShape shape = shipped("Qwen/Qwen3-32B");
  CHECK(runnable(shape, Precision::bf16));
  CHECK(runnable(shape, Precision::fp8));
  CHECK_FALSE(runnable(shape, Precision::fp4));
  std::ifstream in(folder() / "Qwen/Qwen3-32B.json");
  nlohmann::json config = nlohmann::json::parse(in);
  config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  const auto planned = parse_model_shape(config.dump());
  REQUIRE(planned);
  CHECK(planned->stored == Precision::fp8);
  CHECK(runnable(*planned, planned->stored));  // with --quantization fp8
  CHECK(runnable(*planned, Precision::bf16));
  CHECK(shape_of(*parse_model_config(config.dump(), {})).block_scales);
}

TEST_CASE("widths that a model can be shared over: what does not divide is named as config.json names it") {
  const auto refused = [](const ModelShape& shape, int width) {
    const auto can = shareable(shape, width);
    REQUIRE_FALSE(can);
    CHECK(can.error().message.find(std::to_string(width)) != std::string::npos);
    if (can.error().field.starts_with("--")) return can.error().field;
    CHECK(can.error().message.find(can.error().field) != std::string::npos);
    return can.error().field;
  };
  const ModelShape dense = shipped("meta-llama/Llama-3.1-70B");  // 64 and 8 heads, 28672
  for (const int width : {1, 2, 4, 8}) CHECK(shareable(dense, width));
  CHECK(refused(dense, 3) == "num_attention_heads");
  CHECK(refused(dense, 0) == "--tensor-parallel");
  CHECK(refused(dense, 16) == "--tensor-parallel");
  ModelShape few = dense;
  few.kv_heads = 4;
  CHECK(refused(few, 8) == "num_key_value_heads");
  CHECK(shareable(few, 4));
  few = dense;
  few.ffn = 28676;
  CHECK(refused(few, 8) == "intermediate_size");
  ModelShape experts = shipped("Qwen/Qwen3-30B-A3B");  // 32 and 4 heads, 768; all layers have experts
  CHECK(shareable(experts, 4));
  experts.ffn = 6145;  // of no layer
  CHECK(shareable(experts, 4));
  experts.expert_ffn = 770;
  CHECK(refused(experts, 4) == "moe_intermediate_size");
  ModelShape mixtral = shipped("mistralai/Mixtral-8x7B-v0.1");  // its config.json has one size only
  CHECK(shareable(mixtral, 8));
  mixtral.ffn = mixtral.expert_ffn = 14340;
  CHECK(refused(mixtral, 8) == "intermediate_size");
}

TEST_CASE("parameter counts are those that their publishers state") {
  const auto billions = [](const std::string& name) { return shipped(name).parameters() / 1e9; };
  CHECK(billions("meta-llama/Llama-3.1-8B-Instruct") == Approx(8.03).epsilon(0.01));
  CHECK(billions("meta-llama/Llama-3.1-70B") == Approx(70.6).epsilon(0.01));
  CHECK(billions("meta-llama/Llama-2-70b-hf") == Approx(68.98).epsilon(0.002));
  CHECK(billions("meta-llama/Llama-3.1-405B") == Approx(405.9).epsilon(0.002));
  CHECK(billions("meta-llama/Llama-3.2-1B") == Approx(1.236).epsilon(0.005));
  CHECK(billions("Qwen/Qwen2.5-72B") == Approx(72.71).epsilon(0.002));
  CHECK(billions("Qwen/Qwen3-30B-A3B") == Approx(30.53).epsilon(0.002));
  CHECK(billions("mistralai/Mixtral-8x7B-v0.1") == Approx(46.7).epsilon(0.002));
  CHECK(billions("google/gemma-3-27b-it") == Approx(27.0).epsilon(0.005));
  CHECK(shipped("google/gemma-3-27b-it").window_layers == 52);
  CHECK(billions("Qwen/Qwen3-32B") == Approx(32.8).epsilon(0.01));
  CHECK(billions("nvidia/Llama-3.1-Nemotron-Nano-4B-v1.1") == Approx(4.51).epsilon(0.02));
  CHECK(billions("deepseek-ai/DeepSeek-R1") == Approx(671).epsilon(0.01));
  CHECK(shipped("deepseek-ai/DeepSeek-R1").active_parameters() / 1e9 == Approx(37.5).epsilon(0.03));
  CHECK(billions("openai/gpt-oss-120b") == Approx(116.8).epsilon(0.02));
  CHECK(billions("Qwen/Qwen3-235B-A22B") == Approx(235).epsilon(0.01));
  CHECK(billions("moonshotai/Kimi-K2.5") == Approx(1026).epsilon(0.02));
  CHECK(billions("MiniMaxAI/MiniMax-M2.5") == Approx(229).epsilon(0.02));
  CHECK(billions("Qwen/Qwen3.5-397B-A17B") == Approx(397).epsilon(0.03));
}

TEST_CASE("attention of every kind: what is cached for a token") {
  CHECK(shipped("meta-llama/Llama-3.1-70B").kv_elements() == 2 * 8 * 128);
  CHECK(shipped("deepseek-ai/DeepSeek-R1").kv_elements() == 576);
  CHECK(shipped("openai/gpt-oss-120b").window_layers == 18);
  CHECK(shipped("openai/gpt-oss-120b").window == 128);
  const ModelShape hybrid = shipped("Qwen/Qwen3.5-397B-A17B");
  CHECK(hybrid.attention_layers == 15);
  CHECK(hybrid.linear_layers == 45);
  CHECK(hybrid.linear_parameters > 0);
}

TEST_CASE("a text model inside a model that sees, patterns, mixtures") {
  const auto nested = parse_model_shape(
      R"({"architectures": ["X"], "text_config": {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2,)"
      R"( "intermediate_size": 16, "vocab_size": 10, "sliding_window": 4, "sliding_window_pattern": 4}})");
  REQUIRE(nested);
  CHECK(nested->hidden == 8);
  CHECK(nested->window_layers == 3);
  const auto hybrid = parse_model_shape(
      R"({"hidden_size": 8, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 10,)"
      R"( "hybrid_override_pattern": "M-M*-E", "mamba_num_heads": 4, "mamba_head_dim": 4, "ssm_state_size": 2, "n_routed_experts": 4,)"
      R"( "num_experts_per_tok": 2, "moe_intermediate_size": 8})");
  REQUIRE(hybrid);
  CHECK(hybrid->attention_layers == 1);
  CHECK(hybrid->linear_layers == 2);
  CHECK(hybrid->dense_layers == 2);
  CHECK(hybrid->expert_layers == 1);
  CHECK(hybrid->ffn_matrices == 2);
}

TEST_CASE("a window that no sequence outgrows is none") {
  const auto layers = [](const char* positions) {
    const auto shape =
        parse_model_shape(std::string(R"({"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2,
          "intermediate_size": 16, "vocab_size": 10, "sliding_window": 64, "max_position_embeddings": )") +
                              positions + "}",
                          "config.json");
    REQUIRE(shape);
    return shape->window_layers;
  };
  CHECK(layers("64") == 0);
  CHECK(layers("65") == 4);
}

TEST_CASE("what is missing or wrong is named") {
  const auto field = [](const std::string& text) {
    const auto shape = parse_model_shape(text, "c.json");
    REQUIRE_FALSE(shape);
    return shape.error().field;
  };
  CHECK(field(R"({"num_hidden_layers": 2})") == "hidden_size");
  CHECK(field(R"({"hidden_size": 8, "num_hidden_layers": 0})") == "num_hidden_layers");
  CHECK(field(R"({"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 9, "num_attention_heads": 2})") ==
        "intermediate_size");
  CHECK(
      field(
          R"({"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 9, "num_attention_heads": 2, "intermediate_size": 4,)"
          R"( "num_experts": 4, "num_experts_per_tok": 5})") == "num_experts_per_tok");
  CHECK(
      field(
          R"({"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 9, "num_attention_heads": 2, "intermediate_size": 4,)"
          R"( "block_configs": []})") == "block_configs");
  CHECK_FALSE(parse_model_shape("[1]"));
}
