// Two engines of the real demo model that hand KV caches to each other over loopback, as a router would have
// them do it.
#pragma once

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/engine/engine.hpp"
#include "baton/engine/model_executor.hpp"
#include "baton/model/model.hpp"
#include "support/catch.hpp"
#include "support/collecting_sink.hpp"
#include "support/test_data.hpp"

namespace baton::test {

inline constexpr std::int32_t kBlockSize = 16;

struct DemoCase {
  std::vector<TokenId> prompt, answer;
};

inline std::vector<DemoCase> demo_cases() {
  std::ifstream file(source_dir() / "models/demo/demo.json");
  const nlohmann::json document = nlohmann::json::parse(file);
  std::vector<DemoCase> cases;
  for (const auto& entry : document["cases"]) cases.push_back({entry["prompt_ids"], entry["answer_ids"]});
  return cases;
}

// Messages between the two engines, without a network.
struct Wire final : ControlPlane {
  std::string self;
  std::map<std::string, Engine*>* engines = nullptr;
  bool send(const std::string& node, const Message& message) override {
    const auto found = engines->find(node);
    if (found == engines->end()) return false;
    found->second->handle(self, message);
    return true;
  }
  void publish(const BlockEventsMessage&) override {}
};

struct Node {
  Node(std::string node_name, const TransportOptions& base, std::shared_ptr<LoopbackHub> hub,
       std::map<std::string, Engine*>& engines)
      : name(std::move(node_name)) {
    ops = *make_ops(OpsOptions{Device{}, 1, "auto"});
    model = *load_model(source_dir() / "models/demo", *ops);
    const KvSpec spec = model->kv_spec(kBlockSize);
    kv.emplace(*KvMemory::allocate(spec, spec.layout.block_bytes() * 400, 1, Device{}));
    TransportOptions options = base;
    options.piece_bytes = spec.layout.head_bytes();
    transport = make_loopback_transport(std::move(hub), options);
    wire.self = name;
    wire.engines = &engines;
    EngineOptions e;
    e.node_name = name;
    e.role = name == "decode" ? Role::decode : Role::prefill;
    e.limits = {16, 512, 64, model->config().max_positions};
    e.vocab = model->config().vocab;
    Engine::Parts parts;
    parts.executor = make_model_executor(*model, *ops, kv->view(), clock);
    parts.kv = kv->view();
    parts.transport = transport.get();
    parts.control = &wire;
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(e, std::move(parts));
    engines[name] = engine.get();
  }

  std::string name;
  SteadyClock clock;
  FaultPoints faults;
  Wire wire;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
  std::optional<KvMemory> kv;
  std::unique_ptr<KvTransport> transport;
  std::unique_ptr<Engine> engine;
};

class Pair {
 public:
  explicit Pair(const TransportOptions& options = {})
      : hub_(make_loopback_hub()),
        prefill_("prefill", options, hub_, engines_),
        decode_("decode", options, hub_, engines_) {
    REQUIRE(prefill_.transport->connect("decode", decode_.transport->address()));
    REQUIRE(decode_.transport->connect("prefill", prefill_.transport->address()));
    prefill_.engine->start();
    decode_.engine->start();
  }
  ~Pair() {
    prefill_.engine->stop();
    decode_.engine->stop();
  }

  std::vector<TokenId> answer(const DemoCase& demo, bool share_cache = true) {
    return answer(make_request(demo, share_cache));
  }
  // As the router does it: prefill there, then decode here with what has been generated so far.
  std::vector<TokenId> answer(Request request) {
    request.phase = Phase::prefill;
    request.decode_node = "decode";
    auto first = std::make_shared<CollectingSink>();
    REQUIRE(prefill_.engine->submit(request, {}, first));
    REQUIRE(first->wait_end());
    REQUIRE(first->finish());
    REQUIRE(first->finish()->reason == FinishReason::handed_off);
    return go_on(std::move(request), *first);
  }

  Request make_request(const DemoCase& demo, bool share_cache) {
    Request request;
    request.id = {7, ++ids_};
    request.prompt = demo.prompt;
    if (!share_cache) request.cache_salt = std::to_string(ids_);
    request.sampling.temperature = 0;
    request.stop.max_tokens = 100;
    request.stop.eos_token_ids = {3, 1};
    return request;
  }

  // The decode stage of what was handed off.
  std::vector<TokenId> go_on(Request request, const CollectingSink& first) {
    request.output = first.tokens();
    request.phase = Phase::decode;
    request.prefill_node = first.finish()->handoff.decode_node.empty() ? "" : "prefill";
    auto rest = std::make_shared<Rest>();
    REQUIRE(decode_.engine->submit(request, {}, rest));
    REQUIRE(rest->done.wait_end());
    std::vector<TokenId> tokens = request.output;
    tokens.insert(tokens.end(), rest->tokens.begin(), rest->tokens.end());
    return tokens;
  }

  // Computed at "prefill" alone at first, and moved in mid-stream, as from an engine that drains.
  std::vector<TokenId> moved_answer(const DemoCase& demo, std::size_t after) {
    return moved_answer(make_request(demo, false), after);
  }
  std::vector<TokenId> moved_answer(Request request, std::size_t after) {
    auto first = std::make_shared<CollectingSink>();
    REQUIRE(prefill_.engine->submit(request, {}, first));
    REQUIRE(first->wait_tokens(after));
    prefill_.engine->handle("front", MoveMessage{key_of(request), 0, "decode"});
    REQUIRE(first->wait_end());
    REQUIRE(first->finish());
    if (first->finish()->reason != FinishReason::handed_off) return first->tokens();  // it was quicker
    ++moved;
    return go_on(std::move(request), *first);
  }
  int moved = 0;

  EngineStats at_rest(Node& node) const {
    for (int i = 0; i < 2000 && !(node.engine->idle() && node.engine->stats().blocks_in_use == 0); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return node.engine->stats();
  }
  Engine& prefill_engine() { return *prefill_.engine; }
  EngineStats prefill_stats() { return at_rest(prefill_); }
  EngineStats decode_stats() { return at_rest(decode_); }

 private:
  // Tokens of the decode stage: their indexes go on from the prefill stage's.
  struct Rest final : TokenSink {
    void on_token(const TokenEvent& event) override { tokens.push_back(event.token.token); }
    void on_finish(const FinishEvent& event) override { done.on_finish(event); }
    void on_error(const Error& error) override { done.on_error(error); }
    std::vector<TokenId> tokens;
    CollectingSink done;
  };

  std::map<std::string, Engine*> engines_;
  std::shared_ptr<LoopbackHub> hub_;
  Node prefill_, decode_;
  std::uint64_t ids_ = 0;
};

}  // namespace baton::test
