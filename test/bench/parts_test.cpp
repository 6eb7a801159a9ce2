// The load generator's pure parts: statistics, arrivals, events, prompts, the server's metrics.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "baton/bench/arrivals.hpp"
#include "baton/bench/prompts.hpp"
#include "baton/bench/report.hpp"
#include "baton/bench/sse.hpp"
#include "bench/http_response.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::bench;

namespace {

Record record(double sent, double first, double last, std::int64_t tokens) {
  Record r;
  r.outcome = Outcome::completed;
  r.scheduled = sent - 0.5;
  r.sent = sent, r.first = first, r.last = r.ended = last, r.output_tokens = tokens;
  return r;
}

std::vector<std::string> events_of(const std::string& bytes, std::size_t piece) {
  SseParser parser;
  std::vector<std::string> events;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    parser.feed(std::string_view(bytes).substr(at, piece),
                [&](std::string_view data) { events.emplace_back(data); });
  return events;
}

// As many tokens as letters, and one for two e's that meet over a space: words do something to each other.
Result<std::size_t> count_letters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += c != ' ' ? 1 : 0;
  for (std::size_t at = text.find("e e"); at != text.npos; at = text.find("e e", at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("spreads are numpy's") {
  const Spread s = spread_of({4, 1, 3, 2, 10});
  CHECK(s.avg == 4);
  CHECK(s.min == 1);
  CHECK(s.max == 10);
  CHECK(s.p50 == 3);
  CHECK(s.p25 == 2);
  CHECK(s.p90 == Approx(7.6));   // numpy.percentile([1, 2, 3, 4, 10], 90)
  CHECK(s.p99 == Approx(9.76));  // and 99
  CHECK(s.std == Approx(std::sqrt(10.0)));
  CHECK(spread_of({}).count == 0);
  CHECK(spread_of({7}).p99 == 7);
}

TEST_CASE("metrics by their definitions") {
  RunResult run;
  run.records = {record(1, 1.2, 2.2, 11), record(2, 2.1, 3, 10), record(3, 3.4, 3.4, 1)};
  run.records.push_back(record(0, 0.1, 0.2, 5));
  run.records.back().warm_up = true;
  run.records.push_back(record(0, 0, 0, 0));
  run.records.back().outcome = Outcome::failed;
  run.begin = 1, run.end = 5;
  const Summary summary = summarize(run, {.ttft = 0.25});
  CHECK(summary.completed == 3);
  CHECK(summary.failed == 1);
  CHECK(summary.find("time_to_first_token")->spread.avg == Approx((200 + 100 + 400) / 3.0));
  CHECK(summary.find("request_latency")->spread.max == Approx(1200));
  const Spread itl = summary.find("inter_token_latency")->spread;
  CHECK(itl.count == 2);  // one token has no interval
  CHECK(itl.avg == Approx(100));
  CHECK(summary.find("output_token_throughput_per_user")->spread.avg == Approx(10));
  CHECK(summary.find("output_token_throughput")->spread.avg == Approx(22 / 4.0));
  CHECK(summary.find("request_throughput")->spread.avg == Approx(3 / 4.0));
  CHECK(summary.find("goodput")->spread.avg == Approx(2 / 4.0));
  // What coordinated omission would have hidden: half a second before each send.
  CHECK(summary.find("latency_from_schedule")->spread.max == Approx(1700));
  CHECK(summary.find("send_delay")->spread.avg == Approx(500));
}

TEST_CASE("arrivals: rates, patterns, ramps, the same for a seed") {
  const auto gaps = [](const ArrivalOptions& options) {
    const auto times = arrival_times(options, 20000, 1e9);
    std::vector<double> between;
    for (std::size_t i = 1; i < times.size(); ++i) between.push_back(times[i] - times[i - 1]);
    return spread_of(between);
  };
  const Spread poisson = gaps({.rate = 50, .seed = 1});
  CHECK(poisson.avg == Approx(0.02).epsilon(0.03));
  CHECK(poisson.std == Approx(0.02).epsilon(0.05));
  CHECK(gaps({.pattern = ArrivalPattern::constant, .rate = 50}).std < 1e-9);
  const Spread gamma = gaps({.pattern = ArrivalPattern::gamma, .rate = 50, .smoothness = 4, .seed = 2});
  CHECK(gamma.avg == Approx(0.02).epsilon(0.03));
  CHECK(gamma.std == Approx(0.01).epsilon(0.05));
  CHECK(arrival_times({.seed = 3}, 50, 1e9) == arrival_times({.seed = 3}, 50, 1e9));
  CHECK(arrival_times({.seed = 3}, 50, 1e9) != arrival_times({.seed = 4}, 50, 1e9));
  const auto ramped = arrival_times({.pattern = ArrivalPattern::constant, .rate = 10, .ramp = 10}, 1000, 20);
  const auto before = [&](double t) {
    return std::ranges::count_if(ramped, [t](double at) { return at < t; });
  };
  CHECK(before(5) == Approx(12.5).margin(1.5));  // half of the rate at half of the ramp
  CHECK(before(10) == Approx(50).margin(1.5));
  CHECK(before(20) == Approx(150).margin(1.5));
}

TEST_CASE("events, however the stream is cut") {
  const std::string stream =
      ": comment\r\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\nid: 3\n\ndata\n\rdata: "
      "last\r\rdata: unfinished";
  const std::vector<std::string> wanted{"{\"a\": 1}", "two\nlines", "", "last"};
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) CHECK(events_of(stream, piece) == wanted);
}

TEST_CASE("an endless line is given up") {
  SseParser parser;
  const std::string part(1 << 20, 'x');
  for (int i = 0; i < 6; ++i) parser.feed(part, [](std::string_view) {});
  CHECK(parser.overflowed());
}

TEST_CASE("HTTP answers, however they are cut") {
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n";
  const std::string sized = "HTTP/1.1 404 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
  for (std::size_t piece = 1; piece <= chunked.size(); ++piece) {
    for (const std::string& bytes : {chunked, sized}) {
      std::string body;
      HttpResponse response([&](std::string_view part) { body += part; });
      for (std::size_t at = 0; at < bytes.size(); at += piece)
        REQUIRE(response.feed(std::string_view(bytes).substr(at, piece)));
      CHECK(response.done());
      CHECK(body == (bytes == chunked ? "abcdefgh" : "body"));
      CHECK(response.status() == (bytes == chunked ? 200 : 404));
      CHECK(response.keep_alive() == (bytes == chunked));
    }
  }
  HttpResponse nonsense([](std::string_view) {});
  CHECK_FALSE(nonsense.feed("not http at all\r\n\r\n"));
}

TEST_CASE("prompts have exactly the tokens that were asked for, though words change each other's") {
  auto maker = PromptMaker::make(count_letters, 7);
  REQUIRE(maker);
  std::string before;
  for (const std::size_t tokens : {1U, 2U, 5U, 64U, 1000U}) {
    const auto text = maker->text(tokens);
    REQUIRE(text);
    CHECK(count_letters(*text).value() == tokens);
    CHECK(*text != before);
    before = *text;
  }
  CHECK(maker->text_of(3, 50).value() == maker->text_of(3, 50).value());
  CHECK(maker->text_of(3, 50).value() != maker->text_of(4, 50).value());
}

TEST_CASE("conversations: turns, delays, shared beginnings, lengths with a spread") {
  auto maker = PromptMaker::make(count_letters, 7);
  const auto all = make_conversations(*maker,
                                      {.conversations = 200,
                                       .input_mean = 50,
                                       .input_stddev = 10,
                                       .output_mean = 20,
                                       .prefixes = 2,
                                       .prefix_length = 30,
                                       .turns_mean = 3,
                                       .delay_mean = 2,
                                       .seed = 1},
                                      {});
  REQUIRE(all);
  REQUIRE(all->size() == 200);
  std::vector<double> lengths;
  std::vector<std::string> beginnings;
  for (const Conversation& c : *all) {
    CHECK(c.turns.size() == 3);
    CHECK(c.turns[0].delay == 0);
    CHECK(c.turns[1].delay == 2);
    CHECK(c.turns[0].max_tokens == 20);
    lengths.push_back(static_cast<double>(c.turns[1].input_tokens));
    beginnings.push_back(c.turns[0].prompt.substr(0, 30));
  }
  CHECK(spread_of(lengths).avg == Approx(50).epsilon(0.05));
  CHECK(spread_of(lengths).std == Approx(10).epsilon(0.2));
  std::ranges::sort(beginnings);
  CHECK(std::unique(beginnings.begin(), beginnings.end()) - beginnings.begin() == 2);
}

TEST_CASE("traces and own files become requests at their times") {
  auto maker = PromptMaker::make(count_letters, 7);
  const auto trace = parse_trace(
      "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 2]}\n"
      "{\"timestamp\": 1500, \"input_length\": 700, \"output_length\": 6, \"hash_ids\": [1, 3]}\n",
      "t");
  REQUIRE(trace);
  const auto all = trace_conversations(*maker, *trace, {});
  REQUIRE(all);
  CHECK((*all)[1].at == 1.5);
  CHECK((*all)[1].turns[0].max_tokens == 6);
  CHECK((*all)[0].turns[0].prompt.substr(0, 512) == (*all)[1].turns[0].prompt.substr(0, 512));
  CHECK((*all)[0].turns[0].prompt != (*all)[1].turns[0].prompt);
  const auto own = parse_requests(
      "{\"timestamp\": 20, \"text\": \"b\"}\n{\"timestamp\": 10, \"input_length\": 5, \"session_id\": "
      "\"s\"}\n"
      "{\"session_id\": \"s\", \"text\": \"c\", \"delay\": 100}\n",
      "f", *maker);
  REQUIRE(own);
  REQUIRE(own->size() == 2);
  CHECK((*own)[0].turns.size() == 2);
  CHECK((*own)[0].turns[1].delay == Approx(0.1));
  CHECK((*own)[1].turns[0].prompt == "b");
  for (const char* bad : {"", "[]", "{}", "{\"text\": \"\"}", "{\"input_length\": -1}",
                          "{\"text\": \"a\", \"timestamp\": \"x\"}"}) {
    const auto wrong = parse_requests(bad, "f", *maker);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().message.starts_with("f"));
  }
}

TEST_CASE("the server's metrics: names with labels, comments passed over") {
  const auto values = parse_metrics("# HELP a b\na 1\nb{x=\"y z\"} 2.5 123\n\nnonsense\nc{q=\"}\"} 3e2\n");
  CHECK(values.size() == 3);
  CHECK(values.at("a") == 1);
  CHECK(values.at("c{q=\"}\"}") == 300);
}

TEST_CASE("exports: a line for each metric and request, AIPerf's tags") {
  BenchRun run;
  run.label = "x";
  run.result.records = {record(1, 1.2, 2.2, 11), record(2, 2.1, 3, 10)};
  run.result.begin = 1, run.result.end = 3;
  run.summary = summarize(run.result, {});
  std::ostringstream csv, records, table;
  write_csv(csv, run);
  write_records(records, run);
  print_table(table, run);
  CHECK(csv.str().find("Time to First Token,ms,150,") != std::string::npos);
  CHECK(std::ranges::count(records.str(), '\n') == 2);
  CHECK(table.str().find("Request Throughput (requests/sec)") != std::string::npos);
  CHECK(charts(std::vector<BenchRun>{run}).size() == 2);
  CHECK(charts(std::vector<BenchRun>{run, run}).size() == 3);
}
