// A router over a real engine, alone: its index follows the engine's events, and what it missed is repaired.
#include <chrono>
#include <memory>
#include <random>
#include <thread>

#include "baton/base/fault.hpp"
#include "baton/base/memory_metrics.hpp"
#include "baton/router/router.hpp"
#include "engine/fake_model.hpp"
#include "support/catch.hpp"
#include "support/collecting_sink.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

struct Fixture {
  Fixture() : router(options()) {
    const KvSpec spec = fake_kv_spec(4);
    kv.emplace(*KvMemory::allocate(spec, spec.layout.block_bytes() * 200, 1, Device{}));
    EngineOptions e;
    e.limits = {16, 64, 64, 4096};
    e.vocab = kFakeVocab;
    Engine::Parts parts;
    parts.executor = std::make_unique<FakeExecutor>(kv->view());
    parts.kv = kv->view();
    parts.control = &router;
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(e, std::move(parts));
    engine->start();
  }
  ~Fixture() {
    router.stop();
    engine->stop();
  }
  static RouterOptions options() {
    RouterOptions options;
    options.block_size = 4;
    options.hash_key = [](const std::string& salt) { return make_block_hash_key("", {}, "", salt); };
    return options;
  }
  void start_router() {
    Router::Parts parts;
    parts.engine = engine.get();
    parts.policy = policy.get();
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.metrics = &metrics;
    router.start(parts);
  }
  void answer(InferenceService& service, std::uint64_t id) {
    Request request;
    request.id = {1, id};
    std::mt19937_64 random(id);
    for (int i = 0; i < 101; ++i)
      request.prompt.push_back(static_cast<TokenId>(random() % (kFakeVocab - 1)) + 1);
    request.stop.max_tokens = 8;
    const auto sink = std::make_shared<CollectingSink>();
    REQUIRE(service.submit(request, {}, sink));
    REQUIRE(sink->wait_end());
    REQUIRE(sink->finish());
  }
  double gauge(const char* name) { return metrics.gauge(name, "").value(); }
  double counter(const char* name) { return metrics.counter(name, "").value(); }
  bool index_follows() {  // the router works on its own thread
    for (int i = 0; i < 1000; ++i) {
      if (engine->idle() && gauge("baton_index_entries") > 0 &&
          gauge("baton_index_entries") == static_cast<double>(engine->stats().blocks_cached))
        return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  SteadyClock clock;
  FaultPoints faults;
  MemoryMetrics metrics;
  std::unique_ptr<RoutingPolicy> policy = make_policy("kv");
  std::optional<KvMemory> kv;
  Router router;
  std::unique_ptr<Engine> engine;
};

}  // namespace

TEST_CASE("the index holds what the engine's prefix cache holds, also while blocks are evicted") {
  Fixture f;
  f.start_router();
  for (std::uint64_t id = 1; id <= 30; ++id) f.answer(f.router, id);  // more than the pool holds
  CHECK(f.index_follows());
  CHECK(f.counter("baton_index_gaps_total") == 0);
  CHECK(f.counter("baton_index_drifts_total") == 0);
  CHECK(f.counter("baton_index_dropped_total") == 0);
  CHECK(f.gauge("baton_index_bytes") > 0);
}

TEST_CASE("what happened before the router ran comes with a snapshot") {
  Fixture f;
  f.answer(*f.engine, 1);
  f.start_router();
  f.answer(f.router, 2);
  CHECK(f.index_follows());
  CHECK(f.gauge("baton_index_entries") > 40);
}
