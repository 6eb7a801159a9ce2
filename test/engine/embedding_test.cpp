// Requests that want an embedding: the model's own numbers, whoever shares the step, and no tokens.
#include "engine/lone_engine.hpp"

using namespace baton;
using namespace baton::test;

namespace {

Request embedding_of(std::uint64_t id, std::uint64_t text, std::size_t tokens) {
  Request request = make_request(id, nullptr, 1);
  request.grammar.clear();
  request.embed = true;
  request.prompt = text_of(text, tokens);
  return request;
}

// What the model's final norm makes of the last token, in one pass and without an engine.
std::vector<float> by_hand(const std::vector<TokenId>& tokens) {
  const auto ops = *make_ops(OpsOptions{Device{}, 1, "auto"});
  const auto model = *load_model(source_dir() / "models/demo", *ops);
  const KvSpec spec = model->kv_spec(kBlockSize);
  Batch batch;
  const auto rows = static_cast<std::int32_t>(tokens.size());
  batch.sequences.push_back({0, rows, 0, 0});
  for (std::int32_t p = 0; p < rows; ++p) {
    batch.tokens.push_back(tokens[static_cast<std::size_t>(p)]);
    batch.positions.push_back(p);
    if (p % kBlockSize == 0) batch.block_table.push_back(p / kBlockSize);
  }
  batch.logit_rows = {rows - 1};
  batch.wants_hidden = true;
  const auto blocks = static_cast<std::int32_t>(batch.block_table.size());
  auto kv =
      *KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(blocks), 1, Device{});
  model->forward(batch, kv.view(), *ops);
  const auto values = ops->to_host(model->hidden());
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("an embedding is what the final norm makes of the last token, and there are no tokens") {
  Lone lone(400);
  for (const std::size_t tokens : {1, 16, 60}) {
    const Request request = embedding_of(tokens, 3 + tokens, tokens);
    const auto sink = lone.ended(request);
    REQUIRE(sink->finish());
    CHECK(sink->finish()->embedding == by_hand(request.prompt));
    CHECK(sink->finish()->embedding.size() == 256);
    CHECK(sink->finish()->reason == FinishReason::stop);
    CHECK(sink->finish()->prompt_tokens == tokens);
    CHECK(sink->finish()->output_tokens == 0);
    CHECK(sink->tokens().empty());
  }
}

TEST_CASE("embeddings are the same among other requests, in chunks and from the prefix cache") {
  Lone lone(400);
  const auto expected = lone.ended(embedding_of(1, 7, 700))->finish()->embedding;  // in chunks of 512
  CHECK(expected == by_hand(text_of(7, 700)));
  std::vector<std::shared_ptr<CollectingSink>> generating, embedding;
  Request bare = make_request(50, nullptr);
  bare.grammar.clear();
  const auto alone = lone.ended(bare)->tokens();
  for (std::uint64_t id = 2; id < 10; ++id) {
    bare.id.low = 50 + id;
    generating.push_back(lone.submit(bare));
    embedding.push_back(lone.submit(embedding_of(id, 7, 700)));
  }
  for (const auto& sink : embedding) {
    REQUIRE(sink->wait_end());
    REQUIRE(sink->finish());
    CHECK(sink->finish()->embedding == expected);
    CHECK(sink->finish()->cached_tokens > 0);
  }
  for (const auto& sink : generating) {
    REQUIRE(sink->wait_end());
    CHECK(sink->tokens() == alone);
    CHECK(sink->finish()->embedding.empty());
  }
  CHECK(lone.engine->stats().largest_batch > 1);
}
