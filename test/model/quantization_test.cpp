// Weights that are rounded to e4m3 when they are loaded: the model against the oracle with what the codes
// stand for.

#include "support/catch.hpp"
#include "tiny_model.hpp"

namespace baton {
namespace {

using test::group_of;
using test::Logits;
using test::Runner;
using test::some_tokens;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;

}  // namespace

TEST_CASE("a model that is quantised when it is loaded computes with what its codes stand for") {
  const auto [width, patch] = GENERATE(table<std::int32_t, const char*>(
      {{1, R"({"attention_bias": true, "mlp_bias": true})"},
       {2, R"({"attention_bias": true, "mlp_bias": true})"},
       {2, R"({"tie_word_embeddings": true})"},
       {2, R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.5})"},
       {1, R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})"},
       {2, R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
               "moe_intermediate_size": 16})"},
       {2, R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [5, 7]}})"}}));
  CAPTURE(width, patch);
  TinyModel tiny(patch);
  for (auto& [name, values] : tiny.weights) {
    if (!name.ends_with("_proj.weight") && name.find(".experts.") == std::string::npos) continue;
    test::round_weights(values, tiny.inputs.at(name));
  }
  const auto group = group_of(width), lone = group_of(1);
  auto model = load_model(tiny.directory.path(), *group, {.quantization = Quantization::fp8});
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, group->rank(0), 4);
  const Tokens tokens = some_tokens(20);
  CHECK(worst_difference(runner.feed(tokens), oracle.logits(tokens)) < 2e-4);
  const auto same = load_model(tiny.directory.path(), *lone, {.quantization = Quantization::fp8});
  const auto plain = load_model(tiny.directory.path(), *lone);
  REQUIRE(same);
  REQUIRE(plain);
  CHECK((*same)->fingerprint() == (*model)->fingerprint());
  CHECK((*plain)->fingerprint() != (*model)->fingerprint());
}

TEST_CASE("what is e4m3 already stays as it is") {
  const TinyModel tiny(R"({"attention_bias": true, "quantization_config": {"quant_method": "fbgemm_fp8"}})");
  const auto lone = group_of(1);
  auto plain = load_model(tiny.directory.path(), *lone);
  auto again = load_model(tiny.directory.path(), *lone, {.quantization = Quantization::fp8});
  REQUIRE(plain);
  REQUIRE(again);
  CHECK((*plain)->fingerprint() == (*again)->fingerprint());
  const Tokens tokens = some_tokens(20);
  CHECK(Runner(**plain, lone->rank(0), 4).feed(tokens) == Runner(**again, lone->rank(0), 4).feed(tokens));
}

TEST_CASE("a checkpoint that is e4m3 in part is another model when the rest is rounded, too") {
  TinyModel tiny(R"({"quantization_config": {"quant_method": "fp8"}})");
  for (int layer = 0; layer < 3; ++layer) {
    const std::string name = "model.layers." + std::to_string(layer) + ".self_attn.o_proj.weight";
    test::TestTensor& tensor = tiny.tensor(name);
    tensor = {name, "F32", tensor.shape, test::f32_bytes(tiny.weights.at(name))};
    tiny.remove(name + "_scale");
  }
  tiny.write();
  const auto lone = group_of(1);
  auto plain = load_model(tiny.directory.path(), *lone);
  auto rounded = load_model(tiny.directory.path(), *lone, {.quantization = Quantization::fp8});
  if (!plain) FAIL(plain.error().message);
  REQUIRE(rounded);
  CHECK((*plain)->fingerprint() != (*rounded)->fingerprint());
  const Tokens tokens = some_tokens(20);
  CHECK(Runner(**plain, lone->rank(0), 4).feed(tokens) != Runner(**rounded, lone->rank(0), 4).feed(tokens));
}

}  // namespace baton
