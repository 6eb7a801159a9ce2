// Traces: both formats, what is shared, what is refused.
#include "baton/sim/trace.hpp"

#include <set>

#include "support/catch.hpp"

using namespace baton;

TEST_CASE("Mooncake's lines give arrivals, lengths and shared text") {
  const auto trace =
      parse_trace(R"({"timestamp": 500, "input_length": 700, "output_length": 5, "hash_ids": [7, 8]})"
                  "\n"
                  R"({"timestamp": 250, "input_length": 600, "output_length": 0, "hash_ids": [7, 9]})"
                  "\n",
                  "t.jsonl");
  REQUIRE(trace);
  REQUIRE(trace->size() == 2);
  const TraceRequest& first = trace->at(0);
  const TraceRequest& second = trace->at(1);
  CHECK(first.arrival == Duration(0));  // ordered, and from the first arrival on
  CHECK(second.arrival == std::chrono::milliseconds(250));
  CHECK(first.input_tokens == 600);
  CHECK(first.output_tokens == 1);  // an answer has at least one token
  const auto a = trace_tokens(first, 1000), b = trace_tokens(second, 1000);
  REQUIRE(a.size() == 600);
  REQUIRE(b.size() == 700);
  CHECK(std::equal(a.begin(), a.begin() + 512, b.begin()));
  CHECK_FALSE(std::equal(a.begin() + 512, a.end(), b.begin() + 512));
  for (const TokenId token : b) CHECK((token >= 0 && token < 1000));
}

TEST_CASE("Azure's lines share nothing") {
  const auto trace = parse_trace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-16 23:59:59.5000000,374,44\r\n"
      "2023-11-17 00:00:01.2500000,374,109\r\n",
      "t.csv");
  REQUIRE(trace);
  REQUIRE(trace->size() == 2);
  CHECK(trace->at(1).arrival == std::chrono::milliseconds(1750));
  CHECK(trace->at(1).output_tokens == 109);
  CHECK(trace_tokens(trace->at(0), 128256) != trace_tokens(trace->at(1), 128256));
}

TEST_CASE("a broken line is named") {
  const auto message = [](std::string_view text) {
    const auto trace = parse_trace(text, "t");
    REQUIRE_FALSE(trace);
    return trace.error().message;
  };
  CHECK(message("") == "t holds no requests");
  CHECK(message("hello") == "t:1: not a JSON object");
  CHECK(message("\n{\"timestamp\": -1}") == "t:2: 'timestamp' is not a time in ms");
  CHECK(message(R"({"timestamp": 0, "input_length": 0, "output_length": 1, "hash_ids": []})") ==
        "t:1: 'input_length' is out of range");
  CHECK(message(R"({"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]})") ==
        "t:1: 'hash_ids' does not fit 'input_length'");
  CHECK(message(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["a"]})") ==
        "t:1: 'hash_ids' holds something else than ids");
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  CHECK(message(header + "2023-13-01 00:00:00,1,1") == "t:2: TIMESTAMP is not a time");
  CHECK(message(header + "9999-01-01 00:00:00,1,1") ==
        "t:2: TIMESTAMP is not a time");  // beyond nanoseconds in 64 bits
  CHECK(message(header + "2023-11-16 18:15:46,x,1") == "t:2: ContextTokens is not a positive count");
  CHECK(message(header + "2023-11-16 18:15:46,1") == "t:2: not three columns");
}
