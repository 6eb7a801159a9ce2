// Weights that are rounded to e4m3 when they are loaded: the codes against a search through all of them, and
// the model against the oracle with what the codes stand for.
#include <cmath>
#include <limits>
#include <random>

#include "baton/tensor/convert.hpp"
#include "support/catch.hpp"
#include "tiny_model.hpp"

namespace baton {
namespace {

using test::Logits;
using test::Runner;
using test::some_tokens;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;

float meaning(std::byte code) {
  float value = 0;
  convert_values(&code, DType::e4m3, 1, DType::f32, reinterpret_cast<std::byte*>(&value));
  return value;
}

// The code whose value is nearest; of two, the even one.
std::byte nearest(float value) {
  std::byte best{};
  float distance = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<std::byte>(i);
    const float candidate = meaning(code);
    if (std::isnan(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    const float off = std::abs(candidate - value);
    if (off < distance || (off == distance && (i & 1) == 0)) {
      best = code;
      distance = off;
    }
  }
  return best;
}

// What the projections' weights are after rounding; [out, in] rows.
void round_weights(std::vector<float>& weights, std::size_t in) {
  std::vector<std::byte> codes(in);
  for (std::size_t row = 0; row < weights.size() / in; ++row) {
    const std::span<float> values(weights.data() + row * in, in);
    const float scale = quantise_to_e4m3(values, codes);
    for (std::size_t i = 0; i < in; ++i) values[i] = meaning(codes[i]) * scale;
  }
}

std::unique_ptr<OpsGroup> group_of(std::int32_t width) {
  auto made = make_ops_group({.threads = width}, width);
  REQUIRE(made);
  return *std::move(made);
}

}  // namespace

TEST_CASE("e4m3 codes are the nearest, and the largest weight is the largest code") {
  std::mt19937 engine(5);
  for (int round = 0; round < 40; ++round) {
    const float spread = std::ldexp(1.0F, static_cast<int>(engine() % 60) - 40);
    std::vector<float> values(97);
    for (float& value : values) {
      value = spread * (static_cast<float>(engine() % 20001) - 10000) / 10000;
      if (engine() % 4 == 0) value *= std::ldexp(1.0F, -static_cast<int>(engine() % 12));
    }
    std::vector<std::byte> codes(values.size());
    const float scale = quantise_to_e4m3(values, codes);
    float largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      CAPTURE(round, i, values[i], scale);
      CHECK(codes[i] == nearest(values[i] / scale));
      largest = std::max(largest, std::abs(meaning(codes[i])));
    }
    CHECK(largest == 448.0F);
  }
}

TEST_CASE("e4m3 codes of ties, zeros and what is not finite") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto codes_of = [](std::vector<float> values) {
    std::vector<std::byte> codes(values.size());
    const float scale = quantise_to_e4m3(values, codes);
    std::vector<float> meant{scale};
    for (const std::byte code : codes) meant.push_back(meaning(code));
    return meant;
  };
  // With 448 among them the scale is 1: half-way between two codes goes to the even one.
  CHECK(codes_of({448, 17, 19, -17, 0x1p-10F, 0x3p-10F, 0x1.fp-7F, 0}) ==
        std::vector<float>{1, 448, 16, 20, -16, 0, 0x1p-8F, 0x1p-6F, 0});
  CHECK(codes_of({0, -0.0F, 0}) == std::vector<float>{1, 0, 0, 0});
  CHECK(codes_of({1e-42F, -1e-42F}) == std::vector<float>{1, 0, 0});
  const std::vector<float> odd = codes_of({infinity, 2, std::nanf(""), -infinity, -1});
  CHECK(odd[0] == 2.0F / 448);
  CHECK(std::isnan(odd[1]));
  CHECK(odd[2] == 448);
  CHECK(std::isnan(odd[3]));
  CHECK(std::isnan(odd[4]));
  CHECK(odd[5] == -224);
}

TEST_CASE("a model that is quantised when it is loaded computes with what its codes stand for") {
  const auto [width, patch] = GENERATE(table<std::int32_t, const char*>(
      {{1, R"({"attention_bias": true, "mlp_bias": true})"},
       {2, R"({"attention_bias": true, "mlp_bias": true})"},
       {2, R"({"tie_word_embeddings": true})"},
       {1, R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})"},
       {2, R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
               "moe_intermediate_size": 16})"},
       {2, R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [5, 7]}})"}}));
  CAPTURE(width, patch);
  TinyModel tiny(patch);
  for (auto& [name, values] : tiny.weights) {
    if (!name.ends_with("_proj.weight") && name.find(".experts.") == std::string::npos) continue;
    round_weights(values, static_cast<std::size_t>(tiny.tensor(name).shape[1]));
  }
  const auto group = group_of(width), lone = group_of(1);
  auto model = load_model(tiny.directory.path(), *group, {}, Quantization::fp8);
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, group->rank(0), 4);
  const Tokens tokens = some_tokens(20);
  CHECK(worst_difference(runner.feed(tokens), oracle.logits(tokens)) < 2e-4);
  const auto same = load_model(tiny.directory.path(), *lone, {}, Quantization::fp8);
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
  auto again = load_model(tiny.directory.path(), *lone, {}, Quantization::fp8);
  REQUIRE(plain);
  REQUIRE(again);
  CHECK((*plain)->fingerprint() == (*again)->fingerprint());
  const Tokens tokens = some_tokens(20);
  CHECK(Runner(**plain, lone->rank(0), 4).feed(tokens) == Runner(**again, lone->rank(0), 4).feed(tokens));
}

}  // namespace baton
