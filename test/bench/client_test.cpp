// The load generator against a server whose times are known: what it measures is what the server did.
#include "baton/bench/client.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "baton/bench/statistics.hpp"
#include "bench/scripted_server.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::bench;
using bench_test::Script;
using bench_test::ScriptedServer;

namespace {

struct Running {
  explicit Running(const Script& script) : server(script), thread([this] { server.run(); }) {}
  ~Running() { end(); }
  void end() {
    server.stop();
    if (thread.joinable()) thread.join();
  }
  Target target() const {
    Target t = parse_target("http://127.0.0.1:" + std::to_string(server.port())).value();
    t.path = "/v1/chat/completions";
    t.model = "m";
    return t;
  }
  ScriptedServer server;
  std::thread thread;
};

std::vector<Conversation> conversations(std::size_t count, std::size_t turns = 1) {
  return std::vector<Conversation>(count, Conversation{std::vector<Turn>(turns, Turn{"hello", 3, 20, 0}), 0});
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return percentile(values, 50);
}

}  // namespace

TEST_CASE("TTFT and ITL are the server's own, to a millisecond") {
  Running running({.ttft = 0.03, .itl = 0.004, .tokens = 12});
  const auto result = run_load(running.target(), conversations(40), {.concurrency = 4, .conversations = 40});
  running.end();
  REQUIRE(result);
  REQUIRE(result->records.size() == 40);
  std::vector<double> first, between, told_first, told_between;
  for (const Record& r : result->records) {
    REQUIRE(r.outcome == Outcome::completed);
    CHECK(r.output_tokens == 12);
    CHECK(r.chunks == 12);
    first.push_back(ttft(r));
    between.push_back(inter_token_latency(r));
  }
  for (const auto& served : running.server.served()) {
    told_first.push_back(served.first - served.came);
    told_between.push_back((served.last - served.first) / 11);
  }
  CHECK(std::abs(median(first) - median(told_first)) < 0.001);
  CHECK(std::abs(median(between) - median(told_between)) < 0.001);
  CHECK(median(told_first) > 0.029);
}

TEST_CASE("a closed loop keeps its concurrency, an open one its times") {
  Running running({.ttft = 0.1, .itl = 0.001, .tokens = 2});
  const auto closed = run_load(running.target(), conversations(8), {.concurrency = 8, .conversations = 16});
  REQUIRE(closed);
  CHECK(closed->records.size() == 16);
  CHECK(closed->end - closed->begin < 1.2);  // two rounds of 0.1 s, not sixteen
  LoadOptions open;
  open.conversations = 10;
  for (int i = 0; i < 10; ++i) open.arrivals.push_back(0.01 * i);  // faster than answers come
  const auto opened = run_load(running.target(), conversations(1), open);
  REQUIRE(opened);
  for (const Record& r : opened->records) CHECK(r.sent >= r.scheduled);
  std::vector<double> late;
  for (const Record& r : opened->records) late.push_back(r.sent - r.scheduled);
  CHECK(median(late) < 0.02);  // none waited for an answer
  open.concurrency = 1;        // now they must, and that shows
  const auto limited = run_load(running.target(), conversations(1), open);
  REQUIRE(limited);
  CHECK(std::ranges::max(limited->records, {}, [](const Record& r) { return r.sent - r.scheduled; }).sent >
        0.5);
}

TEST_CASE("turns of a conversation follow each other and carry what was said") {
  Running running({.ttft = 0.01, .itl = 0.001, .tokens = 3});
  const auto result = run_load(running.target(), conversations(2, 3), {.concurrency = 2, .conversations = 2});
  REQUIRE(result);
  REQUIRE(result->records.size() == 6);
  CHECK(std::ranges::count(result->records, 2, &Record::turn) == 2);
}

TEST_CASE("reasoning is text of the answer, once, whatever it is called") {
  std::vector<std::size_t> sent[2];
  for (const bool reasoning : {false, true}) {
    Running running({.ttft = 0.01, .itl = 0.001, .tokens = 3, .reasoning = reasoning});
    const auto result =
        run_load(running.target(), conversations(1, 3), {.concurrency = 1, .conversations = 1});
    running.end();
    REQUIRE(result);
    for (const auto& served : running.server.served()) sent[reasoning ? 1 : 0].push_back(served.body);
  }
  REQUIRE(sent[0].size() == 3);
  CHECK(sent[0][2] > sent[0][1]);
  CHECK(sent[0] == sent[1]);
}

TEST_CASE("what goes wrong is a record with its reason, and nothing hangs") {
  const auto outcome = [](const Script& script, LoadOptions options) {
    Running running(script);
    options.concurrency = 2, options.conversations = 4;
    const auto result = run_load(running.target(), conversations(4), options);
    REQUIRE(result);
    REQUIRE(result->records.size() == 4);
    return result->records.front();
  };
  const Record refused = outcome({.status = 503}, {});
  CHECK(refused.outcome == Outcome::failed);
  CHECK(refused.error.find("HTTP 503") == 0);
  const Record cut = outcome({.ttft = 0.01, .cut_after = 2}, {});
  CHECK(cut.outcome == Outcome::failed);
  CHECK(cut.error.find("connection ended") != std::string::npos);
  const Record late = outcome({.ttft = 30}, {.timeout = 0.1});
  CHECK(late.outcome == Outcome::failed);
  CHECK(late.error.find("no answer within") == 0);
  const Record given_up = outcome({.ttft = 30}, {.cancel_share = 1, .cancel_after = 0.05});
  CHECK(given_up.outcome == Outcome::cancelled);
  Target nobody = parse_target("127.0.0.1:1").value();
  const auto result = run_load(nobody, conversations(1), {.concurrency = 1, .conversations = 1});
  REQUIRE(result);
  CHECK(result->records.front().error.find("cannot connect") == 0);
}

TEST_CASE("a load that lasts a time ends in time") {
  Running running({.ttft = 0.01, .itl = 0.001, .tokens = 3});
  LoadOptions options{.concurrency = 2, .conversations = 1000000, .duration = 0.3, .grace = 1};
  const auto result = run_load(running.target(), conversations(3), options);
  REQUIRE(result);
  CHECK(result->records.size() > 10);
  CHECK(result->end < 2);
  // Neither an arrival, nor a second turn, nor a worker of the ramp that would come later is waited for: an
  // hour.
  options.arrivals = {0.0, 0.1, 3600};
  std::vector<Conversation> slow = conversations(1, 2);
  slow.front().turns.back().delay = 3600;
  const auto open = run_load(running.target(), slow, options);
  options.arrivals.clear();
  options.ramp = 3600;
  const auto ramped = run_load(running.target(), conversations(1), options);
  REQUIRE(open);
  REQUIRE(ramped);
  CHECK(!open->records.empty());
  CHECK(open->records.size() <= 2);
  CHECK(!ramped->records.empty());
}

TEST_CASE("URLs") {
  CHECK(parse_target("http://host:8080/v1").value().port == 8080);
  CHECK(parse_target("https://host").value().port == 443);
  CHECK(parse_target("host").value().port == 80);
  CHECK(parse_target("http://[::1]:9").value().host == "::1");
  CHECK_FALSE(parse_target("ftp://host"));
  CHECK_FALSE(parse_target("http://host:x"));
  CHECK_FALSE(parse_target("http://"));
}
