// One engine alone: results, batching, preemption, prefix hits, cancellation, deadlines, shutdown.
#include "baton/engine/engine.hpp"

#include <random>

#include "baton/base/fault.hpp"
#include "engine/fake_model.hpp"
#include "support/catch.hpp"
#include "support/collecting_sink.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

// A device that computes nothing, for now or, `lost`, for good.
class FailingExecutor final : public Executor {
 public:
  explicit FailingExecutor(bool lost) : lost_(lost) {}
  void submit(const StepPlan& plan) override { rows_ = plan.rows.size(); }
  StepResult wait() override {
    RowResult row;
    row.error = make_error(ErrorCode::unavailable, "it failed");
    StepResult result;
    result.rows.assign(rows_, row);
    result.device_failure = row.error;
    result.device_lost = lost_;
    return result;
  }

 private:
  const bool lost_;
  std::size_t rows_ = 0;
};

struct Fixture {
  explicit Fixture(std::int32_t blocks, std::chrono::microseconds step_time = {},
                   std::int32_t batch_tokens = 64, std::unique_ptr<Executor> executor = nullptr,
                   const KvGroups& groups = {}) {
    const KvSpec spec = fake_kv_spec(4, groups);
    kv.emplace(
        *KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(blocks), 1, Device{}));
    EngineOptions options;
    options.limits = {16, batch_tokens, 64, 4096};
    options.vocab = kFakeVocab;
    Engine::Parts parts;
    parts.executor = executor ? std::move(executor) : std::make_unique<FakeExecutor>(kv->view(), step_time);
    parts.kv = kv->view();
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(options, std::move(parts));
    engine->start();
  }
  std::shared_ptr<CollectingSink> submit(const Request& request, std::stop_token stop = {}) {
    auto sink = std::make_shared<CollectingSink>();
    REQUIRE(engine->submit(request, stop, sink));
    return sink;
  }
  bool becomes_idle() const {
    for (int i = 0; i < 1000 && !engine->idle(); ++i) std::this_thread::sleep_for(5ms);
    return engine->idle();
  }

  SteadyClock clock;
  FaultPoints faults;
  std::optional<KvMemory> kv;
  std::unique_ptr<Engine> engine;
};

Request make_request(std::uint64_t id, std::size_t prompt_tokens, std::int32_t max_tokens,
                     std::uint64_t text = 0) {
  Request request;
  request.id = {1, id};
  std::mt19937_64 random(text == 0 ? id : text);
  for (std::size_t i = 0; i < prompt_tokens; ++i)
    request.prompt.push_back(static_cast<TokenId>(random() % (kFakeVocab - 1)) + 1);
  request.stop.max_tokens = max_tokens;
  request.sampling.seed = id;
  return request;
}

TEST_CASE("a device that says that it is lost is given up at once, another after three failed steps") {
  for (const bool lost : {true, false}) {
    Fixture fixture(64, {}, 64, std::make_unique<FailingExecutor>(lost));
    std::uint64_t asked = 0;
    while (!fixture.engine->stats().device_failed && asked < 10) {
      const auto sink = std::make_shared<CollectingSink>();
      const auto submitted = fixture.engine->submit(make_request(++asked, 5, 4), {}, sink);
      if (!submitted) break;
      REQUIRE(sink->wait_end());
      for (int i = 0; i < 1000 && fixture.engine->stats().failed_steps < asked; ++i)
        std::this_thread::sleep_for(5ms);
    }
    CHECK(fixture.engine->stats().device_failed);
    CHECK(fixture.engine->stats().failed_steps == (lost ? 1U : 3U));
  }
}

}  // namespace

TEST_CASE("what a window leaves behind makes room, and answers stay what they are") {
  const KvGroups windows{.full = 1, .windowed = 2, .window = 16};
  const Request long_one = make_request(1, 100, 60);  // 40 blocks of each group
  {
    Fixture whole(70, {}, 16, nullptr, KvGroups{.full = 3});
    const auto sink = whole.submit(long_one);
    REQUIRE(sink->wait_end());
    REQUIRE(sink->error());
    CHECK(sink->error()->code == ErrorCode::too_large);
  }
  Fixture f(70, {}, 16, nullptr, windows);
  std::vector<Request> requests{long_one, make_request(2, 100, 40, 1), make_request(3, 60, 30)};
  requests.push_back(make_request(4, 100, 20, 1));  // begins as the first two do
  for (int round = 0; round < 3; ++round) {
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (Request& request : requests) {
      request.id.high = static_cast<std::uint64_t>(round + 2);
      sinks.push_back(f.submit(request));
    }
    for (std::size_t i = 0; i < sinks.size(); ++i) {
      REQUIRE(sinks[i]->wait_end());
      CHECK(sinks[i]->tokens() == expected_output(requests[i]));
    }
  }
  REQUIRE(f.becomes_idle());
  CHECK(f.engine->stats().blocks_in_use == 0);
  CHECK(f.engine->stats().prefix_hit_tokens > 0);
}

TEST_CASE("requests that share a batch get what they get alone") {
  Fixture f(512);
  std::vector<Request> requests;
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t i = 1; i <= 16; ++i) {
    requests.push_back(make_request(i, 5 + 13 * i, 20));
    sinks.push_back(f.submit(requests.back()));
  }
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    REQUIRE(sinks[i]->wait_end());
    CHECK(sinks[i]->tokens() == expected_output(requests[i]));
    CHECK_FALSE(sinks[i]->misordered());
    REQUIRE(sinks[i]->finish());
    CHECK(sinks[i]->finish()->reason == FinishReason::length);
  }
  CHECK(f.becomes_idle());
  CHECK(f.engine->stats().largest_batch > 1);
  CHECK(f.engine->stats().blocks_in_use == 0);
}

TEST_CASE("a pool too small for the load preempts and changes nothing") {
  Fixture f(40);
  std::vector<Request> requests;
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t i = 1; i <= 12; ++i) {
    requests.push_back(make_request(i, 30, 60));
    sinks.push_back(f.submit(requests.back()));
  }
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    REQUIRE(sinks[i]->wait_end());
    CHECK(sinks[i]->tokens() == expected_output(requests[i]));
  }
  CHECK(f.becomes_idle());
  CHECK(f.engine->stats().preemptions > 0);
  CHECK(f.engine->stats().recomputed_tokens > 0);
  CHECK(f.engine->stats().blocks_in_use == 0);
}

TEST_CASE("a repeated prompt is found in the prefix cache and answered the same") {
  Fixture f(256);
  const Request first = make_request(1, 101, 10, 77);
  const Request second = make_request(2, 101, 10, 77);
  auto one = f.submit(first);
  REQUIRE(one->wait_end());
  auto two = f.submit(second);
  REQUIRE(two->wait_end());
  CHECK(two->tokens() == expected_output(second));
  CHECK(two->finish()->cached_tokens == 100);
}

TEST_CASE("cancelling frees everything within a step") {
  Fixture f(256, 2ms);
  std::stop_source stop;
  auto sink = f.submit(make_request(1, 20, 900), stop.get_token());
  REQUIRE(sink->wait_tokens(3));
  stop.request_stop();
  REQUIRE(sink->wait_end(2s));
  REQUIRE(sink->error());
  CHECK(sink->error()->code == ErrorCode::cancelled);
  CHECK(f.becomes_idle());
  CHECK(f.engine->stats().blocks_in_use == 0);

  std::stop_source already;
  already.request_stop();
  auto never = f.submit(make_request(2, 20, 20), already.get_token());
  REQUIRE(never->wait_end());
  CHECK(never->error()->code == ErrorCode::cancelled);
}

TEST_CASE("a deadline ends a request, waiting or running") {
  Fixture f(256, 2ms);
  Request request = make_request(1, 20, 900);
  request.deadline = f.clock.now() + 60ms;
  auto sink = f.submit(request);
  REQUIRE(sink->wait_end());
  REQUIRE(sink->error());
  CHECK(sink->error()->code == ErrorCode::deadline_exceeded);
  CHECK(f.becomes_idle());
  CHECK(f.engine->stats().blocks_in_use == 0);
}

TEST_CASE("what cannot be computed is refused with a reason") {
  Fixture f(8);
  Request outside = make_request(1, 4, 4);
  outside.prompt[2] = kFakeVocab;
  auto sink = f.submit(outside);
  REQUIRE(sink->wait_end());
  CHECK(sink->error()->code == ErrorCode::invalid_argument);
  CHECK(sink->error()->field == "prompt");
  auto large = f.submit(make_request(2, 100, 4));
  REQUIRE(large->wait_end());
  CHECK(large->error()->code == ErrorCode::too_large);
  auto empty = f.submit(make_request(3, 0, 4));
  REQUIRE(empty->wait_end());
  CHECK(empty->error()->code == ErrorCode::invalid_argument);
  Request adapted = make_request(4, 4, 4);
  adapted.adapter = {1, 2};
  const auto refused = f.engine->submit(adapted, {}, std::make_shared<CollectingSink>());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unavailable);
}

TEST_CASE("a continued request goes on where its output ended") {
  Fixture f(256);
  Request request = make_request(1, 33, 24);
  const std::vector<TokenId> whole = expected_output(request);
  request.output.assign(whole.begin(), whole.begin() + 9);
  request.generation = 1;
  class Tail final : public TokenSink {
   public:
    void on_token(const TokenEvent& event) override {
      tokens.push_back(event.token.token);
      first = std::min(first, event.index);
    }
    void on_finish(const FinishEvent&) override { end.request_stop(); }
    void on_error(const Error&) override { end.request_stop(); }
    std::vector<TokenId> tokens;
    std::uint32_t first = 1000;
    std::stop_source end;
  };
  auto sink = std::make_shared<Tail>();
  REQUIRE(f.engine->submit(request, {}, sink));
  for (int i = 0; i < 1000 && !sink->end.stop_requested(); ++i) std::this_thread::sleep_for(5ms);
  REQUIRE(sink->end.stop_requested());
  CHECK(sink->first == 9);
  CHECK(sink->tokens == std::vector<TokenId>(whole.begin() + 9, whole.end()));
}

TEST_CASE("stopping the engine answers everybody") {
  Fixture f(256, 2ms);
  auto sink = f.submit(make_request(1, 20, 900));
  REQUIRE(sink->wait_tokens(2));
  f.engine->stop();
  REQUIRE(sink->wait_end(100ms));
  CHECK(sink->error()->code == ErrorCode::unavailable);
  CHECK(f.engine->stats().blocks_in_use == 0);
  CHECK_FALSE(f.engine->submit(make_request(2, 3, 3), {}, std::make_shared<CollectingSink>()));
}

TEST_CASE("a step that fails on the device ends its requests; three in a row end the engine's part") {
  Fixture fixture(64);
  const auto error_of = [&](std::uint64_t id) {
    const auto sink = fixture.submit(make_request(id, 5, 4));
    REQUIRE(sink->wait_end());
    return sink->error();
  };
  const auto failed_steps_become =
      [&](std::uint64_t wanted) {  // stats() follows at the end of the loop's round
        for (int i = 0; i < 1000 && fixture.engine->stats().failed_steps < wanted; ++i)
          std::this_thread::sleep_for(5ms);
        return fixture.engine->stats().failed_steps == wanted;
      };
  REQUIRE(fixture.faults.configure("engine.prefill=fail@1"));
  REQUIRE(error_of(1));
  CHECK(error_of(2) == std::nullopt);  // an accident: the next one is computed
  CHECK(failed_steps_become(1));
  CHECK_FALSE(fixture.engine->stats().device_failed);

  REQUIRE(fixture.faults.configure("engine.prefill=fail"));
  for (std::uint64_t id = 3; id < 6; ++id) {
    const auto error = error_of(id);
    REQUIRE(error);
    CHECK(error->code == ErrorCode::unavailable);  // so that a router tries elsewhere
  }
  CHECK(failed_steps_become(4));
  CHECK(fixture.engine->stats().device_failed);
  REQUIRE(fixture.faults.configure(""));
  const auto refused = fixture.engine->submit(make_request(9, 5, 4), {}, std::make_shared<CollectingSink>());
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::unavailable);
}
