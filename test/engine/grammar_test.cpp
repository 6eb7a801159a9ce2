// Engines whose requests follow grammars: what is sampled, how it ends, and that nothing that happens to a
// request (preemption, handoff, a move, a new attempt) shows in where its grammar stands.
#include "engine/lone_engine.hpp"
#include "support/fake_grammar.hpp"

using namespace baton;
using namespace baton::test;

TEST_CASE("what is sampled follows the grammar, beside requests that have none") {
  Lone lone(400);
  const Request free = make_request(9, nullptr);
  Request bare = free;
  bare.grammar.clear();
  const auto alone = lone.ended(bare)->tokens();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t id = 1; id <= 6; ++id) {
    Request request = make_request(id, multiples_of(7, kEnd), 40);
    if (id % 2 == 0) request.sampling.temperature = 0;
    sinks.push_back(lone.submit(request));
  }
  bare.id.low = 10;
  const auto beside = lone.ended(bare);
  CHECK(beside->tokens() == alone);
  for (const auto& sink : sinks) {
    REQUIRE(sink->wait_end());
    REQUIRE(sink->finish());
    const auto tokens = sink->tokens();
    CHECK(tokens.size() > 1);
    for (const TokenId token : tokens) CHECK((token == kEnd || token % 7 == 0));
    CHECK((sink->finish()->reason == FinishReason::stop) == (tokens.back() == kEnd));
  }
}

TEST_CASE("an output that its grammar determines comes token by token and stops") {
  Lone lone(400);
  const auto text = text_of(1, 12);
  Request request = make_request(1, exactly(text, kEnd), 12);
  SECTION("plainly") {}
  SECTION("below min_tokens") {
    request.stop.max_tokens = 30;
    request.stop.min_tokens = 30;
  }
  SECTION("where EOS is ignored") { request.stop.ignore_eos = true; }
  const auto sink = lone.ended(request);
  CHECK(sink->tokens() == text);
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
}

TEST_CASE("where only a banned end may come the output stops without it") {
  Lone lone(400);
  // Ended by an end token only, which comes after three of these.
  const auto text = text_of(2, 3);
  const auto grammar = std::make_shared<FakeGrammar>(
      [text](FakeGrammar::Output output, TokenId next) {
        return output.size() < text.size() ? next == text[output.size()] : next == kEnd;
      },
      [](FakeGrammar::Output output) { return !output.empty() && output.back() == kEnd; });
  Request request = make_request(1, grammar);
  SECTION("by min_tokens") { request.stop.min_tokens = 10; }
  SECTION("because it is ignored") { request.stop.ignore_eos = true; }
  SECTION("by nothing: then it comes") {}
  const bool comes = request.stop.min_tokens == 0 && !request.stop.ignore_eos;
  const auto sink = lone.ended(request);
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
  auto expected = text;
  if (comes) expected.push_back(kEnd);
  CHECK(sink->tokens() == expected);
  CHECK(sink->finish()->output_tokens == expected.size());
}

TEST_CASE("a grammar that leads nowhere ends its request only, with a reason") {
  Lone lone(400);
  Request stuck = make_request(1, stuck_after(4));
  stuck.sampling.temperature = 0;
  Request stop_id = make_request(3, exactly(text_of(3, 4), kEnd));
  stop_id.stop.stop_token_ids = {text_of(3, 4)[2]};
  stop_id.stop.min_tokens = 4;  // what must come is banned, and is no end
  const auto other = lone.submit(make_request(2, exactly(text_of(2, 9), kEnd)));
  for (const Request& request : {stuck, stop_id}) {
    const auto sink = lone.ended(request);
    CHECK(sink->tokens().size() == (request.id.low == 1 ? 4U : 2U));
    REQUIRE(sink->error());
    CHECK(sink->error()->code == ErrorCode::invalid_argument);
    CHECK(sink->error()->field == "grammar");
    const char* why = request.id.low == 1 ? "too many ways" : "min_tokens";
    CHECK(sink->error()->message.find(why) != std::string::npos);
  }
  REQUIRE(other->wait_end());
  CHECK(other->tokens() == text_of(2, 9));
}

TEST_CASE("a request whose grammar nobody compiled, or whose output does not follow it, is refused") {
  Lone lone(400);
  const auto bare = lone.ended(make_request(1, nullptr));
  REQUIRE(bare->error());
  CHECK(bare->error()->code == ErrorCode::internal);
  CHECK(bare->error()->message.find("not compiled") != std::string::npos);
  Request request = make_request(2, exactly({100, 101, 102}, kEnd));
  request.output = {100, 102};
  const auto astray = lone.ended(request);
  REQUIRE(astray->error());
  CHECK(astray->error()->code == ErrorCode::internal);
  CHECK(lone.engine->stats().blocks_in_use == 0);
}

TEST_CASE("an executor that does not follow the grammar ends the request before the token is seen") {
  Lone lone(400, true);
  Request request = make_request(1, nullptr);
  const auto generated = expected_output(request);
  request.compiled_grammar = exactly({generated[0], generated[1], generated[2] + 1}, kEnd);
  const auto sink = lone.ended(request);
  CHECK(sink->tokens() == std::vector<TokenId>(generated.begin(), generated.begin() + 2));
  REQUIRE(sink->error());
  CHECK(sink->error()->code == ErrorCode::internal);
}

TEST_CASE("a new attempt goes on in the grammar where the output stands, also at its end") {
  Lone lone(400);
  Request request = make_request(1, multiples_of(5, kEnd), 30);
  request.stop.min_tokens = 12;
  const auto whole = lone.ended(request)->tokens();
  REQUIRE(whole.size() > 4);
  Request again = request;
  again.generation = 1;
  again.id.low = 2;
  again.output.assign(whole.begin(), whole.begin() + 4);
  CHECK(lone.ended(again)->tokens() == std::vector<TokenId>(whole.begin() + 4, whole.end()));

  const auto text = text_of(4, 6);
  Request complete = make_request(3, exactly(text, kEnd), 6);
  complete.output = text;  // the engine before was gone before it said that this is all
  const auto sink = lone.ended(complete);
  CHECK(sink->tokens().empty());
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
  CHECK(sink->finish()->output_tokens == 6);
}

TEST_CASE("a pool too small for the load preempts, and every output still follows its grammar") {
  Lone lone(14);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (std::uint64_t id = 1; id <= 6; ++id)
    sinks.push_back(lone.submit(make_request(id, exactly(text_of(id, 60), kEnd), 61)));
  for (std::uint64_t id = 1; id <= 6; ++id) {
    REQUIRE(sinks[id - 1]->wait_end());
    CHECK(sinks[id - 1]->tokens() == text_of(id, 60));
  }
  for (int i = 0; i < 1000 && !lone.engine->idle(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(lone.engine->stats().preemptions > 0);
}

TEST_CASE("a handoff and a move go on in the grammar, from the tokens") {
  Pair pair;
  for (std::uint64_t id = 1; id <= 4; ++id) {
    const auto grammar = exactly(text_of(id, 40), kEnd);
    CHECK(pair.answer(make_request(id, grammar, 41)) == text_of(id, 40));
    CHECK(grammar->starts == 2);  // at either engine
    CHECK(pair.moved_answer(make_request(10 + id, exactly(text_of(id, 300), kEnd), 301), 5) ==
          text_of(id, 300));
  }
  CHECK(pair.moved > 0);
  CHECK(pair.decode_stats().prefill_tokens == 0);
  CHECK(pair.prefill_stats().transfers_failed == 0);
}

TEST_CASE("a prefill that completes the grammar is no handoff") {
  Pair pair;
  Request request = make_request(1, exactly({100}, kEnd));
  request.phase = Phase::prefill;
  request.decode_node = "decode";
  const auto sink = std::make_shared<CollectingSink>();
  REQUIRE(pair.prefill_engine().submit(request, {}, sink));
  REQUIRE(sink->wait_end());
  REQUIRE(sink->finish());
  CHECK(sink->finish()->reason == FinishReason::stop);
  CHECK(pair.decode_stats().blocks_in_use == 0);
}
