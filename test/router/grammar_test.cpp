// Daemons' routers, engines and control streams: a request's grammar goes where the request goes, as text to
// other daemons, and each engine follows it from where the output stands.
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "baton/base/fault.hpp"
#include "baton/base/memory_metrics.hpp"
#include "baton/peer/mesh.hpp"
#include "baton/router/router.hpp"
#include "engine/fake_model.hpp"
#include "support/catch.hpp"
#include "support/collecting_sink.hpp"
#include "support/fake_grammar.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

constexpr TokenId kEnd = 3;

// Takes the lowest token that the grammar allows; computes nothing.
class LowestExecutor final : public Executor {
 public:
  void submit(const StepPlan& plan) override { plan_ = &plan; }
  StepResult wait() override {
    std::this_thread::sleep_for(2ms);
    StepResult result;
    for (const PlannedRows& rows : plan_->rows) {
      RowResult& row = result.rows.emplace_back();
      if (!rows.sample) continue;
      std::uint32_t words[mask_words(kFakeVocab)] = {};
      if (rows.sequence->mask) rows.sequence->mask->write(words);
      TokenId token = 0;
      while (token < kFakeVocab && (words[token / 32] >> (token % 32) & 1U) == 0) ++token;
      row.token = SampledToken{token % kFakeVocab, 0.0F, {}};
    }
    return result;
  }

 private:
  const StepPlan* plan_ = nullptr;
};

// "n": the tokens 100, 101, ... n of them. Anything else is no grammar.
class CountingCompiler final : public GrammarCompiler {
 public:
  Result<std::shared_ptr<const TokenGrammar>> compile(const std::string& grammar) override {
    ++compiled;
    const int count = std::atoi(grammar.c_str());
    if (count <= 0) return make_error(ErrorCode::invalid_argument, "line 1: no number", "grammar");
    return std::shared_ptr<const TokenGrammar>(exactly(text(count), kEnd));
  }
  static std::vector<TokenId> text(int count) {
    std::vector<TokenId> tokens(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) tokens[static_cast<std::size_t>(i)] = 100 + i;
    return tokens;
  }
  std::atomic<int> compiled{0};
};

struct Daemon {
  Daemon(const std::string& name, Role role, std::vector<std::string> peers) : router(options(name)) {
    const KvSpec spec = fake_kv_spec(4);
    kv.emplace(*KvMemory::allocate(spec, spec.layout.block_bytes() * 400, 1, Device{}));
    EngineOptions e;
    e.node_name = name;
    e.role = role;
    e.limits = {16, 64, 64, 4096};
    e.vocab = kFakeVocab;
    Engine::Parts parts;
    parts.executor = std::make_unique<LowestExecutor>();
    parts.kv = kv->view();
    parts.control = &router;
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(e, std::move(parts));
    MeshOptions m;
    m.peers = std::move(peers);
    m.secret = "a secret";
    m.heartbeat = 50ms;
    NodeInfo info;
    info.name = name;
    info.role = role;
    mesh = std::make_unique<PeerMesh>(std::move(m), info, router, null_logger(), metrics);
    engine->start();
    Router::Parts r;
    r.engine = engine.get();
    r.mesh = mesh.get();
    r.policy = policy.get();
    r.clock = &clock;
    r.logger = &null_logger();
    r.grammars = &compiler;
    router.start(r);
    const auto bound = mesh->start();
    REQUIRE(bound);
    address = "127.0.0.1:" + std::to_string(*bound);
  }
  ~Daemon() {
    router.stop();
    mesh->stop();
    engine->stop();
  }
  static RouterOptions options(const std::string& name) {
    RouterOptions options;
    options.node_name = name;
    options.block_size = 4;
    options.hash_key = [](const std::string& salt) { return make_block_hash_key("", {}, "", salt); };
    return options;
  }

  SteadyClock clock;
  FaultPoints faults;
  MemoryMetrics metrics;
  CountingCompiler compiler;
  std::unique_ptr<RoutingPolicy> policy = make_policy("kv");
  std::optional<KvMemory> kv;
  Router router;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<PeerMesh> mesh;
  std::string address;
};

// A daemon that accepts requests and another one: one of them prefills, the other decodes.
struct Cluster {
  explicit Cluster(Role back_role)
      : back("back", back_role, {}),
        front("front", back_role == Role::prefill ? Role::decode : Role::prefill, {back.address}) {
    for (int i = 0; i < 2000 && !(front.router.ready() && front.mesh->peers().size() == 1 &&
                                  front.router.cluster()["nodes"].size() == 2);
         ++i)
      std::this_thread::sleep_for(5ms);
  }
  std::shared_ptr<CollectingSink> submit(const std::string& grammar, const std::string& here) {
    Request request;
    request.id = {1, ++ids};
    for (int i = 0; i < 40; ++i) request.prompt.push_back(static_cast<TokenId>(200 + i + 7 * ids));
    request.stop.max_tokens = 200;
    request.stop.eos_token_ids = {kEnd};
    request.grammar = grammar;
    request.compiled_grammar = *front.compiler.compile(here);  // as the frontend does
    auto sink = std::make_shared<CollectingSink>();
    REQUIRE(front.router.submit(request, {}, sink));
    return sink;
  }

  Daemon back;
  Daemon front;
  std::uint64_t ids = 0;
};

}  // namespace

TEST_CASE("a prefill elsewhere compiles the grammar there, and the decode here goes on in it") {
  Cluster cluster(Role::prefill);
  const auto sink = cluster.submit("30", "30");
  REQUIRE(sink->wait_end());
  CHECK(sink->tokens() == CountingCompiler::text(30));
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
  CHECK(cluster.back.engine->stats().prefill_tokens > 0);
  CHECK(cluster.back.compiler.compiled == 1);
  CHECK(cluster.front.compiler.compiled == 1);  // by the test
}

TEST_CASE("a grammar that another daemon cannot compile is its client's error") {
  Cluster cluster(Role::prefill);
  const auto sink = cluster.submit("no number", "30");
  REQUIRE(sink->wait_end());
  REQUIRE(sink->error());
  CHECK(sink->error()->code == ErrorCode::invalid_argument);
  CHECK(sink->error()->message == "line 1: no number");
  CHECK(cluster.back.engine->stats().prefill_tokens == 0);
}

TEST_CASE("a decode elsewhere replays the grammar there, and when that daemon is gone it goes on here") {
  Cluster cluster(Role::decode);
  const auto sink = cluster.submit("150", "150");
  REQUIRE(sink->wait_tokens(20));
  CHECK(cluster.back.compiler.compiled == 1);
  CHECK(cluster.back.engine->stats().decode_tokens > 10);
  REQUIRE(cluster.front.router.set_role("front", Role::mixed));
  cluster.back.mesh->stop();
  REQUIRE(sink->wait_end());
  CHECK(sink->tokens() == CountingCompiler::text(150));
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
  CHECK(cluster.front.engine->stats().decode_tokens > 10);
  CHECK(cluster.front.compiler.compiled == 1);
}
