// Parser, routes, wire format and error mapping, without sockets.
#include "baton/frontend/server.hpp"
#include "frontend/engine_metrics.hpp"
#include "frontend/http_parser.hpp"
#include "frontend/http_writer.hpp"
#include "frontend/request_metrics.hpp"
#include "frontend/routes.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::frontend;
using Progress = HttpRequestParser::Progress;

TEST_CASE("requests parse the same in one piece and byte by byte") {
  const std::string bytes =
      "POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
      "4\r\n\r\nbodyGET";
  for (const bool whole : {true, false}) {
    HttpRequestParser parser({});
    std::string buffer;
    Progress progress = Progress::need_more;
    bool header_seen = false;
    for (std::size_t i = 0; i < bytes.size() && progress != Progress::complete;) {
      const std::size_t n = whole ? bytes.size() : 1;
      buffer += bytes.substr(i, n);
      i += n;
      progress = parser.feed(buffer);
      REQUIRE(progress != Progress::failed);
      if (progress == Progress::header_done) {
        header_seen = true;
        CHECK(parser.expects_continue());
      }
    }
    REQUIRE(progress == Progress::complete);
    CHECK(header_seen != whole);
    const HttpRequest request = parser.take_request();
    CHECK(request.method == "POST");
    CHECK(request.target == "/v1/completions?x=1");
    CHECK(request.body == "body");
    CHECK(request.keep_alive);
    CHECK(buffer == (whole ? "GET" : ""));
  }
}

TEST_CASE("chunked bodies are joined, HTTP/1.0 closes") {
  HttpRequestParser parser({});
  std::string chunked =
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  REQUIRE(parser.feed(chunked) == Progress::complete);
  CHECK(parser.take_request().body == "abcde");
  HttpRequestParser old({});
  std::string plain = "GET / HTTP/1.0\r\n\r\n";
  REQUIRE(old.feed(plain) == Progress::complete);
  const HttpRequest request = old.take_request();
  CHECK(request.version == 10);
  CHECK_FALSE(request.keep_alive);
}

TEST_CASE("limits and garbage are answered with the right status") {
  const auto status = [](std::string bytes) {
    HttpRequestParser parser({.header_bytes = 1000, .body_bytes = 10});
    return parser.feed(bytes) == Progress::failed ? parser.error().status : 0;
  };
  CHECK(status("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n") == 413);
  CHECK(status("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789") == 0);
  CHECK(status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n") == 413);
  // Whose end is in doubt: a proxy in front might see another request.
  const char* body = "\r\n5\r\nhello\r\n0\r\n\r\n";
  for (const char* fields :
       {"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"})
    CHECK(status(std::string("POST / HTTP/1.1\r\n") + fields + body) == 400);
  CHECK(status(std::string("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n") + body) == 400);
  CHECK(status("GET / HTTP/1.1\r\nX: " + std::string(2000, 'x')) == 431);
  CHECK(status("\x16\x03\x01\x02\x03 hello \r\n\r\n") == 400);
  CHECK(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 400);
  CHECK(status("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n") == 400);
  CHECK(status("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na") == 400);
}

TEST_CASE("the limit on headers counts the request line and not the body, in whatever pieces they come") {
  const std::size_t limit = 300, piece = GENERATE(1, 7, 40, 5000);
  CAPTURE(piece);
  const auto outcome = [&](std::size_t header_bytes) {
    std::string bytes = "POST / HTTP/1.1\r\nContent-Length: 20\r\nX: ";
    bytes += std::string(header_bytes - bytes.size() - 4, 'x') + "\r\n\r\n" + std::string(20, 'b');
    HttpRequestParser parser({.header_bytes = limit, .body_bytes = 100});
    std::string buffer;
    Progress progress = Progress::need_more;
    for (std::size_t at = 0;
         at < bytes.size() && progress != Progress::complete && progress != Progress::failed; at += piece) {
      buffer += bytes.substr(at, piece);
      progress = parser.feed(buffer);
    }
    return progress == Progress::failed ? parser.error().status : progress == Progress::complete ? 200 : 0;
  };
  CHECK(outcome(limit - 1) == 200);
  CHECK(outcome(limit) == 200);
  CHECK(outcome(limit + 1) == 431);
  CHECK(outcome(3 * limit) == 431);
}

TEST_CASE("routes know their methods, HEAD and model ids with slashes") {
  CHECK(find_route("POST", "/v1/chat/completions").endpoint == Endpoint::chat_completions);
  CHECK(find_route("GET", "/v1/models/org/demo").argument == "org/demo");
  CHECK(find_route("GET", "/v1/models/org%2Fdemo?x").argument == "org/demo");
  CHECK(find_route("GET", "http://a:1/health/ready?x=1").endpoint == Endpoint::ready);
  CHECK(find_route("HEAD", "/metrics").head_only);
  CHECK(find_route("GET", "/v1/completions").status == 405);
  CHECK(find_route("GET", "/v1/completions").allow == "POST");
  CHECK(find_route("DELETE", "/v1/models/x").status == 405);
  for (const char* target : {"/", "", "/v1/models/", "/v1/chat", "*", "/health/", "//health"}) {
    INFO(target);
    CHECK(find_route("GET", target).status == 404);
  }
  CHECK(percent_decode("%4") == "%4");
  CHECK(percent_decode("%zz%41%") == "%zzA%");
}

TEST_CASE("heads are framed and cannot be split by their values") {
  HttpReply reply;
  reply.body = "xy";
  reply.headers.emplace_back("x-a", "1\r\nevil: 2");
  const std::string bytes =
      serialize(reply, {.version = 11, .keep_alive = false, .head_only = false, .node_name = "n"});
  CHECK(bytes ==
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-baton-node: n\r\nx-a: 1  evil: 2\r\n"
        "connection: close\r\ncontent-length: 2\r\n\r\nxy");
  CHECK(encode_chunk(std::string(26, 'a')) == "1a\r\n" + std::string(26, 'a') + "\r\n");
}

TEST_CASE("every error code has its status and OpenAI's words") {
  const std::pair<ErrorCode, int> rows[] = {
      {ErrorCode::invalid_argument, 400}, {ErrorCode::not_found, 404},
      {ErrorCode::unauthenticated, 401},  {ErrorCode::too_large, 400},
      {ErrorCode::overloaded, 429},       {ErrorCode::deadline_exceeded, 504},
      {ErrorCode::cancelled, 503},        {ErrorCode::unavailable, 503},
      {ErrorCode::corrupt, 500},          {ErrorCode::unsupported, 400},
      {ErrorCode::out_of_memory, 503},    {ErrorCode::io, 500},
      {ErrorCode::internal, 500}};
  for (const auto& [code, status] : rows) CHECK(http_status(code) == status);
  const ApiError busy = api_error(make_error(ErrorCode::overloaded, "full"));
  CHECK(busy.retry_after_s > 0);
  CHECK(busy.type == "rate_limit_error");
  CHECK(error_body(api_error(make_error(ErrorCode::not_found, "no \xff", "model"))) ==
        "{\"error\":{\"message\":\"no \xef\xbf\xbd\",\"type\":\"invalid_request_error\",\"param\":\"model\","
        "\"code\":\"model_not_found\"}}");
}

TEST_CASE("engine totals become counters that never fall") {
  PrometheusMetrics metrics;
  EngineMetrics engine(metrics, "Org/Demo");
  EngineStats stats;
  stats.blocks_total = 10;
  stats.blocks_in_use = 2;
  stats.blocks_cached = 3;
  stats.steps = 7;
  engine.update(stats);
  engine.update(stats);
  stats.steps = 9;
  engine.update(stats);
  const std::string text = metrics.text();
  CHECK(text.find("baton_engine_steps_total 9\n") != std::string::npos);
  CHECK(text.find("baton_kv_blocks{state=\"free\"} 5\n") != std::string::npos);
  CHECK(text.find("vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"Org/Demo\"} 0.2\n") !=
        std::string::npos);
  CHECK(text.find("# TYPE vllm:num_preemptions_total counter") != std::string::npos);
}
