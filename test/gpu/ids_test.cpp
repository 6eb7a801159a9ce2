// Whole models: the tokens that the GPU's logits choose are those that the CPU's choose, in prefill and in
// recorded decode steps alike. Token ids come with the models (demo.json, golden.json); text is not involved.
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "baton/engine/kv_memory.hpp"
#include "baton/model/model.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"

namespace baton::test {
namespace {

using Tokens = std::vector<std::int32_t>;
constexpr std::int32_t kBlock = 16;

struct Case {
  Tokens prompt, answer;
};

std::vector<Case> demo_cases() {
  std::ifstream file(source_dir() / "models/demo/demo.json");
  std::vector<Case> cases;
  const auto demo = nlohmann::json::parse(file);
  for (const auto& entry : demo["cases"])
    cases.push_back({entry["prompt_ids"].get<Tokens>(), entry["answer_ids"].get<Tokens>()});
  return cases;
}

struct Score {
  std::int64_t right = 0, all = 0;
  double share() const { return static_cast<double>(right) / static_cast<double>(all); }
};

// All cases side by side: each prompt in chunks, then one token of every answer a step, the right one fed
// whatever was chosen. So one wrong choice counts once.
Score follow(Model& model, Ops& ops, const std::vector<Case>& cases, std::optional<DType> kv,
             std::int32_t chunk) {
  std::int32_t blocks = 0;
  std::vector<std::int32_t> first_block;
  for (const Case& c : cases) {
    first_block.push_back(blocks);
    blocks += static_cast<std::int32_t>(c.prompt.size() + c.answer.size()) / kBlock + 1;
  }
  const KvSpec spec = model.kv_spec(kBlock, kv);
  auto memory =
      KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(blocks), 1, ops.device());
  INFO((memory ? std::string() : memory.error().message));
  REQUIRE(memory.has_value());
  Score score;
  const auto add = [&](Batch& batch, std::size_t which, std::int32_t first,
                       std::span<const std::int32_t> tokens) {
    const Case& c = cases[which];
    batch.sequences.push_back({static_cast<std::int32_t>(batch.tokens.size()),
                               static_cast<std::int32_t>(tokens.size()), first,
                               static_cast<std::int32_t>(batch.block_table.size())});
    const auto size = static_cast<std::int32_t>(c.prompt.size() + c.answer.size()) / kBlock + 1;
    for (std::int32_t b = 0; b < size; ++b) batch.block_table.push_back(first_block[which] + b);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(first + static_cast<std::int32_t>(i));
    }
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  };
  const auto judge = [&](const Batch& batch, const std::vector<std::int32_t>& wanted) {
    const Tensor logits = model.forward(batch, memory->view(), ops);
    REQUIRE(logits.rows == static_cast<std::int64_t>(wanted.size()));
    const auto values = ops.to_host(logits);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] < 0) continue;
      const auto row =
          values.subspan(i * static_cast<std::size_t>(logits.cols), static_cast<std::size_t>(logits.cols));
      const auto chosen = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
      ++score.all;
      score.right += chosen == wanted[i] ? 1 : 0;
    }
  };
  for (std::size_t c = 0; c < cases.size(); ++c) {
    const std::span<const std::int32_t> prompt(cases[c].prompt);
    for (std::size_t first = 0; first < prompt.size(); first += static_cast<std::size_t>(chunk)) {
      const auto part =
          prompt.subspan(first, std::min(static_cast<std::size_t>(chunk), prompt.size() - first));
      Batch batch;
      add(batch, c, static_cast<std::int32_t>(first), part);
      judge(batch, {first + part.size() == prompt.size() ? cases[c].answer[0] : -1});
    }
  }
  for (std::size_t at = 0;; ++at) {
    Batch batch;
    std::vector<std::int32_t> wanted;
    for (std::size_t c = 0; c < cases.size(); ++c) {
      if (at + 1 >= cases[c].answer.size()) continue;
      add(batch, c, static_cast<std::int32_t>(cases[c].prompt.size() + at),
          std::span(&cases[c].answer[at], 1));
      wanted.push_back(cases[c].answer[at + 1]);
    }
    if (wanted.empty()) break;
    judge(batch, wanted);
  }
  return score;
}

Score follow(const std::filesystem::path& directory, const std::vector<Case>& cases,
             std::optional<DType> activations, std::optional<DType> kv, std::int32_t chunk) {
  auto ops = make_ops({.device = {DeviceKind::cuda, 0}, .activations = activations});
  REQUIRE(ops.has_value());
  auto model = load_model(directory, **ops);
  REQUIRE(model.has_value());
  return follow(**model, **ops, cases, kv, chunk);
}

}  // namespace

TEST_CASE("the demo model on the GPU: in f32 every token, in bf16 99.5 % of them") {
  const auto directory = source_dir() / "models/demo";
  const std::vector<Case> cases = demo_cases();
  for (const std::int32_t chunk : {4096, 64}) {
    const Score exact = follow(directory, cases, DType::f32, DType::f32, chunk);
    const Score half = follow(directory, cases, {}, {}, chunk);
    const Score fp8 = follow(directory, cases, {}, DType::e4m3, chunk);
    std::printf("  chunks of %d: f32 %lld of %lld, bf16 %.2f %%, bf16 with e4m3 KV %.2f %%\n", chunk,
                static_cast<long long>(exact.right), static_cast<long long>(exact.all), 100 * half.share(),
                100 * fp8.share());
    CHECK(exact.right == exact.all);
    CHECK(half.share() >= 0.995);
    CHECK(fp8.share() >= 0.9);
  }
}

TEST_CASE("stories260K on the GPU: the 199 golden ids") {
  const auto directory = shared_data("models/stories260K");
  if (!directory) return skipped("stories260K on the GPU", "shared");
  std::ifstream file(*directory / "golden.json");
  const auto golden = nlohmann::json::parse(file);
  const std::vector<Case> cases{{golden["prompt_ids"].get<Tokens>(), golden["greedy_ids"].get<Tokens>()}};
  const Score score = follow(*directory, cases, {}, {}, 7);
  CHECK(score.all == 199);
  CHECK(score.right == score.all);
}

}  // namespace baton::test
