// A model on a group of devices: against the oracle, against itself on one device, and when a rank fails.
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>

#include "failing_group.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"
#include "tiny_model.hpp"

namespace baton {
namespace {

using test::FailingGroup;
using test::FailingOps;
using test::group_of;
using test::Logits;
using test::Runner;
using test::some_tokens;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;

std::unique_ptr<Ops> lone() {
  auto made = make_ops({.threads = 1});
  REQUIRE(made);
  return *std::move(made);
}

}  // namespace

TEST_CASE("shares of n cover it in order, and none is empty") {
  for (const std::int64_t n : {1, 2, 3, 7, 61, 64, 127, 128, 129, 512, 1000, 4096, 32003, 128256, 151936}) {
    for (std::int32_t width = 1; width <= std::min<std::int64_t>(n, kMostRanks); ++width) {
      CAPTURE(n, width);
      std::int64_t next = 0;
      for (std::int32_t rank = 0; rank < width; ++rank) {
        const Share share = share_of(n, {rank, width});
        CHECK(share.first == next);
        CHECK(share.count > 0);
        if (n % width == 0) CHECK(share.count == n / width);
        if (n % width != 0 && n >= 64 * width) CHECK(share.first % 64 == 0);
        next = share.first + share.count;
      }
      CHECK(next == n);
    }
  }
}

TEST_CASE("a group's forward pass agrees with the oracle") {
  const auto [width, patch] = GENERATE(table<std::int32_t, const char*>(
      {{1, "{}"},
       {2, "{}"},
       {2, R"({"tie_word_embeddings": true})"},
       {2, R"({"attention_bias": true, "mlp_bias": true})"},
       {4, R"({"num_attention_heads": 8, "num_key_value_heads": 4, "attention_bias": true})"},
       {8, R"({"num_attention_heads": 8, "num_key_value_heads": 8, "mlp_bias": true})"},
       {2, R"({"architectures": ["Qwen2ForCausalLM"]})"},
       {2, R"({"architectures": ["Qwen3ForCausalLM"]})"},
       {2, R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})"},
       {2, R"({"architectures": ["Glm4MoeForCausalLM"], "attention_bias": true, "use_qk_norm": true,
          "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 16, "n_shared_experts": 2,
          "routed_scaling_factor": 1.5, "n_group": 4, "topk_group": 2})"},
       {2, R"({"architectures": ["Gemma3ForCausalLM"], "sliding_window": 9, "sliding_window_pattern": 2})"},
       {2, R"({"architectures": ["GptOssForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2,
               "sliding_window": 8})"},
       {2, R"({"architectures": ["GptOssForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2,
               "hidden_size": 32, "intermediate_size": 96, "sliding_window": 16,
               "quantization_config": {"quant_method": "mxfp4"}})"},
       {2, R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
               "moe_intermediate_size": 16, "mlp_only_layers": [1], "dense_layer": 1})"},
       {2, R"({"attention_bias": true, "quantization_config": {"quant_method": "fbgemm_fp8"}})"},
       {2, R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2,
               "quantization_config": {"quant_method": "fp8"}})"},
       {2, R"({"attention_bias": true,
               "quantization_config": {"quant_method": "fp8", "weight_block_size": [5, 7]}})"}}));
  CAPTURE(width, patch);
  const TinyModel tiny(patch);
  const auto group = group_of(width);
  auto model = tiny.load(*group);
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, group->rank(0), 4);
  const Tokens tokens = some_tokens(41);
  std::ptrdiff_t begin = 0;
  for (const std::ptrdiff_t end : {1, 7, 33, 41}) {
    const Logits logits = runner.feed({tokens.begin() + begin, tokens.begin() + end}, end == 33 ? 0 : 1);
    CAPTURE(end);
    if (end != 33) {
      REQUIRE(logits.size() == 61);
      CHECK(worst_difference(logits, oracle.logits({tokens.begin(), tokens.begin() + end})) < 2e-4);
    }
    begin = end;
  }
}

TEST_CASE("a group has the lone model's fingerprint and cache, and numerics of its own") {
  const TinyModel tiny(R"({"tie_word_embeddings": true})");
  const auto alone = lone();
  const auto group = group_of(2);
  auto one = tiny.load(*alone), shared = tiny.load(*group);
  REQUIRE(one);
  REQUIRE(shared);
  CHECK((*one)->fingerprint() == (*shared)->fingerprint());
  CHECK((*one)->kv_spec(4).layout == (*shared)->kv_spec(4).layout);
  CHECK(group->rank(0).numerics_id() == alone->numerics_id() + "/tp2");
  CHECK(group->rank(1).numerics_id() == alone->numerics_id() + "/tp2");
  CHECK(group_of(1)->rank(0).numerics_id() == alone->numerics_id());

  // What the one has put into the cache, the other goes on from, and the other way round.
  const Tokens tokens = some_tokens(30);
  const Tokens first(tokens.begin(), tokens.begin() + 20), rest(tokens.begin() + 20, tokens.end());
  const test::OracleDecoder oracle((*one)->config(), tiny.weights);
  const auto check_handoff = [&](Model& from, Ops& from_ops, Model& to, Ops& to_ops) {
    Runner prefill(from, from_ops, 4), decode(to, to_ops, 4);
    prefill.feed(first);
    decode.feed(some_tokens(20));  // takes the positions
    const KvView source = prefill.kv(), target = decode.kv();
    std::memcpy(target.base, source.base,
                source.layout.block_bytes() * static_cast<std::size_t>(source.blocks));
    CHECK(worst_difference(decode.feed(rest), oracle.logits(tokens)) < 2e-4);
  };
  check_handoff(**one, *alone, **shared, group->rank(0));
  check_handoff(**shared, group->rank(0), **one, *alone);
}

TEST_CASE("chunks, threads and batches change no bit of a group's results") {
  const TinyModel tiny(R"({"attention_bias": true, "num_attention_heads": 8, "num_key_value_heads": 4})");
  const std::int32_t width = GENERATE(2, 4);
  const auto group = group_of(width), threaded = group_of(width, 3 * width);
  auto model = tiny.load(*group), again = tiny.load(*threaded);
  REQUIRE(model);
  REQUIRE(again);
  const Tokens tokens = some_tokens(50);
  Runner whole(**model, group->rank(0), 16);
  const Logits expected = whole.feed(tokens);
  for (const int chunk : {1, 3, 16}) {
    CAPTURE(width, chunk);
    Runner runner(**again, threaded->rank(0), 8);
    for (int begin = 0; begin < 50; begin += chunk) {
      const int end = std::min(begin + chunk, 50);
      const Logits logits = runner.feed({tokens.begin() + begin, tokens.begin() + end}, end == 50 ? 1 : 0);
      if (end == 50) CHECK(logits == expected);
    }
  }
}

TEST_CASE("what cannot be shared out evenly is refused by name") {
  const auto refusal = [](const char* patch, std::int32_t width) {
    const TinyModel tiny(patch);
    const auto group = group_of(width);
    const auto loaded = tiny.load(*group);
    return loaded ? std::string("loaded") : loaded.error().field + ": " + loaded.error().message;
  };
  CHECK(refusal("{}", 4).starts_with("num_attention_heads: the model's num_attention_heads is 6"));
  CHECK(refusal(R"({"num_attention_heads": 8})", 4).find("num_key_value_heads is 2") != std::string::npos);
  CHECK(
      refusal(R"({"num_attention_heads": 9, "num_key_value_heads": 3})", 3).find("intermediate_size is 40") !=
      std::string::npos);
  CHECK(refusal(R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
                    "moe_intermediate_size": 16, "num_key_value_heads": 3})",
                3)
            .find("moe_intermediate_size is 16") != std::string::npos);
  CHECK(make_ops_group({}, 0).error().field == "width");
  CHECK(make_ops_group({}, kMostRanks + 1).error().field == "width");
}

TEST_CASE("a checkpoint that one rank cannot load is an error, not a hang") {
  TinyModel tiny;
  tiny.remove("model.layers.2.mlp.down_proj.weight");
  tiny.write();
  const auto group = group_of(2);
  const auto loaded = tiny.load(*group);
  REQUIRE(!loaded);
  CHECK(loaded.error().message.find("down_proj") != std::string::npos);
}

TEST_CASE("a rank that runs out of memory while it loads is an error, and the group loads again") {
  const TinyModel tiny;
  const auto real = group_of(2);
  for (const std::size_t rank : {0, 1}) {
    FailingGroup group(*real);
    group.ranks[rank]->fails_to_pack = true;
    const auto loaded = tiny.load(group);
    REQUIRE(!loaded);
    CHECK(loaded.error().code == ErrorCode::out_of_memory);
    group.rejoin();
    CHECK(tiny.load(group));
  }
}

TEST_CASE("more ranks than threads") {
  const TinyModel tiny(R"({"num_attention_heads": 8, "num_key_value_heads": 4})");
  const auto few = group_of(4, 1), many = group_of(4, 8);
  auto one = tiny.load(*few), other = tiny.load(*many);
  REQUIRE(one);
  REQUIRE(other);
  CHECK(Runner(**one, few->rank(0), 4).feed(some_tokens(30)) ==
        Runner(**other, many->rank(0), 4).feed(some_tokens(30)));
}

TEST_CASE("a rank that fails ends the step, and the next one is right again") {
  const TinyModel tiny;
  const auto real = group_of(2);
  FailingGroup group(*real);
  auto model = tiny.load(group);
  REQUIRE(model);
  const Tokens tokens = some_tokens(12);
  const auto alone = [&] { return Runner(**model, group.rank(0), 4).feed(tokens); };
  const Logits expected = alone();
  for (const std::size_t rank : {0, 1}) {
    for (const int matmuls : {0, 1, 2, 5}) {
      CAPTURE(rank, matmuls);
      group.ranks[rank]->fail(FailingOps::Failure::device, matmuls);
      CHECK_THROWS_WITH(alone(), "made to fail");
      CHECK((*model)->settle(group.rank(0)));
      CHECK(alone() == expected);
      group.ranks[rank]->fail(FailingOps::Failure::memory, matmuls);
      CHECK_THROWS_AS(alone(), std::bad_alloc);
      CHECK((*model)->settle(group.rank(0)));
      CHECK(alone() == expected);
    }
  }
  SECTION("a step of which nothing is gathered is not done where a device gave up") {
    Runner runner(**model, group.rank(0), 16);
    group.in_vain = true;
    CHECK_THROWS_AS(runner.feed(some_tokens(5), 0), DeviceFailure);
    CHECK((*model)->settle(group.rank(0)));
    CHECK_NOTHROW(runner.feed(some_tokens(5), 0));
    CHECK(alone() == expected);
  }
  SECTION("a device that is lost fails every step from then on") {
    group.ranks[1]->alive = false;
    try {
      alone();
    } catch (const DeviceFailure&) {  // in this step, or only in the next
    }
    CHECK_THROWS_AS(alone(), DeviceFailure);
    CHECK_FALSE((*model)->settle(group.rank(0)));
  }
}

TEST_CASE("stories260K on two ranks: the 199 golden ids") {
  const auto directory = test::shared_data("models/stories260K");
  if (!directory) return test::skipped("stories260K on two ranks", "shared");
  std::ifstream file(*directory / "golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const auto ids = golden["greedy_ids"].get<Tokens>();
  for (const std::int32_t width : {2, 4}) {
    const auto group = group_of(width);
    auto model = load_model(*directory, *group);
    if (!model) FAIL(model.error().message);
    Runner runner(**model, group->rank(0), 16);
    Logits logits = runner.feed(golden["prompt_ids"].get<Tokens>());
    Tokens generated;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      generated.push_back(test::argmax(logits));
      if (i + 1 < ids.size()) logits = runner.feed({generated.back()});
    }
    CHECK(generated == ids);
  }
}

}  // namespace baton
