// One engine without peers, and requests whose outputs follow grammars.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "engine/demo_engines.hpp"
#include "engine/fake_model.hpp"

namespace baton::test {

inline constexpr TokenId kEnd = 3;  // the demo model's

// One engine of the demo model, or of another executor; `of_masks`: the clock of its executor.
struct Lone {
  explicit Lone(std::int32_t blocks, bool fake = false, const Clock* of_masks = nullptr) {
    ops = *make_ops(OpsOptions{Device{}, 1, "auto"});
    model = *load_model(source_dir() / "models/demo", *ops);
    const KvSpec spec = fake ? fake_kv_spec(kBlockSize) : model->kv_spec(kBlockSize);
    kv.emplace(
        *KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(blocks), 1, Device{}));
    EngineOptions options;
    options.limits = {16, 512, 64, model->config().max_positions};
    options.vocab = model->config().vocab;
    Engine::Parts parts;
    parts.executor = fake ? std::make_unique<FakeExecutor>(kv->view())
                          : make_model_executor(*model, *ops, kv->view(), of_masks ? *of_masks : clock);
    parts.kv = kv->view();
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(options, std::move(parts));
    engine->start();
  }
  std::shared_ptr<CollectingSink> submit(const Request& request) {
    auto sink = std::make_shared<CollectingSink>();
    REQUIRE(engine->submit(request, {}, sink));
    return sink;
  }
  std::shared_ptr<CollectingSink> ended(const Request& request) {
    auto sink = submit(request);
    REQUIRE(sink->wait_end());
    return sink;
  }

  SteadyClock clock;
  FaultPoints faults;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
  std::optional<KvMemory> kv;
  std::unique_ptr<Engine> engine;
};

inline Request make_request(std::uint64_t id, std::shared_ptr<const TokenGrammar> grammar,
                            std::int32_t max_tokens = 20) {
  Request request;
  request.id = {5, id};
  std::mt19937_64 random(id);
  for (int i = 0; i < 30; ++i) request.prompt.push_back(static_cast<TokenId>(100 + random() % 800));
  request.sampling.seed = id;
  request.stop.max_tokens = max_tokens;
  request.stop.eos_token_ids = {kEnd};
  request.grammar = "fake";
  request.compiled_grammar = std::move(grammar);
  return request;
}

inline std::vector<TokenId> text_of(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens(size);
  for (TokenId& token : tokens) token = static_cast<TokenId>(100 + random() % 800);
  return tokens;
}

}  // namespace baton::test
