// The server over real sockets on loopback, with good clients and bad ones.
#include "baton/frontend/server.hpp"

#include <nlohmann/json.hpp>

#include "frontend/server_fixture.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

double metric(const std::string& text, const std::string& line) {
  const std::size_t at = text.find("\n" + line + " ");
  return at == std::string::npos ? -1 : std::atof(text.c_str() + at + line.size() + 2);
}

}  // namespace

TEST_CASE("an engine's role is put, and what is no role or no engine is said") {
  Fixture f;
  const auto put = [&](const std::string& path, const std::string& body) {
    RawClient client(f.port);
    client.with_body("PUT", path, body);
    return client.read();
  };
  const json done = json::parse(put("/engines/node%20b/role", R"({"role": "decode"})").body);
  CHECK(done == json{{"node", "node b"}, {"role", "decode"}, {"previous", "mixed"}});
  CHECK(put("/engines/x/role", R"({"role": "decode"})").status == 404);
  for (const char* body : {"{}", R"({"role": "boss"})", R"({"role": 1})"})
    CHECK(error_of(put("/engines/node%20b/role", body))["param"] == "role");
  CHECK(put("/engines/node%20b/role", "[").status == 400);
  CHECK(f.get("/engines/node%20b/role").status == 405);
  CHECK(put("/engines//role", "{}").status == 404);
  CHECK(put("/v1/models", "{}").status == 405);
}

TEST_CASE("a route is explained for the body that a completion would have") {
  Fixture f;
  const json chat =
      json::parse(f.post("/route/explain", R"({"messages": [{"role": "user", "content": "hello"}]})").body);
  CHECK(chat["prompt_tokens"].get<int>() > 5);
  const json plain = json::parse(f.post("/route/explain", R"({"prompt": [1, 2, 3], "max_tokens": 7})").body);
  CHECK(plain == json{{"prompt_tokens", 3}, {"max_tokens", 7}, {"salt", ""}});
  CHECK(error_of(f.post("/route/explain", R"({"max_tokens": 7})"))["param"] == "prompt");
  CHECK(f.post("/route/explain", "[]").status == 400);
  CHECK(f.post("/route/explain", R"({"prompt": [99]})").status == 504);
  CHECK(f.get("/route/explain").status == 405);
}

TEST_CASE("plain endpoints answer, HEAD included, and unknown ones say so") {
  Fixture f;
  CHECK(f.get("/health").status == 200);
  CHECK(f.get("/health/live").headers["x-baton-node"] == "node-a");
  CHECK(f.get("/health/ready").status == 200);
  f.is_ready = false;
  CHECK(f.get("/health/ready").status == 503);
  CHECK(json::parse(f.get("/version").body)["version"].is_string());
  CHECK(json::parse(f.get("/cluster").body)["nodes"][0] == "node-a");
  const json models = json::parse(f.get("/v1/models").body);
  CHECK(models["data"].size() == 2);
  CHECK(json::parse(f.get("/v1/models/org/Demo").body)["id"] == "org/Demo");
  CHECK(f.get("/v1/models/none").status == 404);
  CHECK(error_of(f.get("/nothing"))["type"] == "invalid_request_error");
  const RawReply wrong = f.get("/v1/chat/completions");
  CHECK(wrong.status == 405);
  CHECK(wrong.headers.at("allow") == "POST");
  RawClient head(f.port);
  head.send("HEAD /health HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n");
  CHECK(head.read(true).headers["content-length"] != "0");
  CHECK(head.read().status == 200);
}

TEST_CASE("tokenize and detokenize have vLLM's shapes") {
  Fixture f;
  const json one = json::parse(f.post("/tokenize", R"({"prompt":"ab","return_token_strs":true})").body);
  CHECK(one["tokens"] == json::array({kBos, 'a', 'b'}));
  CHECK(one["count"] == 3);
  CHECK(one["max_model_len"] == 200000);
  CHECK(one["token_strs"][0] == "<s>");
  const json bare = json::parse(f.post("/tokenize", R"({"prompt":"ab","add_special_tokens":false})").body);
  CHECK(bare["count"] == 2);
  const json two = json::parse(f.post("/tokenize", R"({"messages":[{"role":"u","content":"x"}]})").body);
  CHECK(two["count"] == 5);
  CHECK(json::parse(f.post("/detokenize", R"({"tokens":[97,98]})").body)["prompt"] == "ab");
  CHECK(error_of(f.post("/detokenize", R"({"tokens":[999]})"))["param"] == "tokens[0]");
  CHECK(error_of(f.post("/tokenize", "{}"))["param"] == "prompt");
}

TEST_CASE("a chat answer is complete: text, reason, usage, KV travel") {
  Fixture f;
  auto behaviour = says("Hello");
  behaviour.handoff = {"p", "d", 3, 1, 4096, "loopback", 1.5, false};
  behaviour.cached_tokens = 4;
  f.service.configure(behaviour);
  const RawReply reply = f.post("/v1/chat/completions", chat());
  REQUIRE(reply.status == 200);
  const json body = json::parse(reply.body);
  CHECK(body["id"].get<std::string>().starts_with("chatcmpl-"));
  CHECK(body["model"] == "org/Demo");
  CHECK(body["choices"][0]["message"]["content"] == "Hello");
  CHECK(body["choices"][0]["finish_reason"] == "stop");
  CHECK(body["usage"]["prompt_tokens"] == 9);  // "user:hi\n>"
  CHECK(body["usage"]["completion_tokens"] == 6);
  CHECK(body["usage"]["prompt_tokens_details"]["cached_tokens"] == 4);
  CHECK(body["baton"]["decode_node"] == "d");
  CHECK(body["baton"]["kv_bytes"] == 4096);
  const Request sent = f.service.requests().at(0);
  CHECK(sent.stop.max_tokens == 200000 - 9);
  CHECK(sent.stop.eos_token_ids == std::vector<std::int32_t>{kEos});
  CHECK(sent.deadline < TimePoint::max());
}

TEST_CASE("a stream has one role, one end a choice, usage on request, and [DONE]") {
  Fixture f;
  const RawReply reply = f.post(
      "/v1/chat/completions",
      chat(
          R"("stream":true,"n":3,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":1)"));
  CHECK(reply.headers.at("content-type").starts_with("text/event-stream"));
  const std::vector<json> events = events_of(reply.body);
  REQUIRE(events.size() > 4);
  CHECK(events.back() == "[DONE]");
  const json& usage = events[events.size() - 2];
  CHECK(usage["choices"].empty());
  CHECK(usage["usage"]["completion_tokens"] == 18);
  CHECK(usage["usage"]["prompt_tokens"] == 9);
  std::map<int, std::string> text, order;
  std::map<int, int> tokens;
  for (std::size_t i = 0; i + 2 < events.size(); ++i) {
    const json& choice = events[i]["choices"].at(0);
    const int index = choice["index"];
    CHECK(events[i]["usage"].is_null());
    CHECK(events[i]["id"] == usage["id"]);
    if (choice["delta"].contains("role")) {
      order[index] += "r";
    } else if (!choice["finish_reason"].is_null()) {
      order[index] += "f";
      CHECK(events[i].contains("baton"));
    } else {
      order[index] += "t";
      text[index] += choice["delta"]["content"];
      tokens[index] += static_cast<int>(choice["logprobs"]["content"].size());
    }
  }
  CHECK(text == std::map<int, std::string>{{0, "Hello"}, {1, "Hello"}, {2, "Hello"}});
  CHECK(tokens == std::map<int, int>{{0, 5}, {1, 5}, {2, 5}});
  for (const auto& [index, letters] : order) CHECK(letters == "rtttttf");
  const auto requests = f.service.requests();
  REQUIRE(requests.size() == 3);
  CHECK(requests[0].id == requests[2].id);
  CHECK(requests[2].choice == 2);
  CHECK(requests[0].sampling.seed == requests[2].sampling.seed);
}

TEST_CASE("completions: several prompts, echo, ids, logprobs") {
  Fixture f;
  const json many = json::parse(
      f.post("/v1/completions", R"({"prompt":["ab","cde"],"n":2,"echo":true,"max_tokens":3})").body);
  REQUIRE(many["choices"].size() == 4);
  CHECK(many["choices"][0]["text"] == "abHel");
  CHECK(many["choices"][3]["text"] == "cdeHel");
  CHECK(many["choices"][3]["index"] == 3);
  CHECK(many["choices"][3]["finish_reason"] == "length");
  CHECK(many["usage"]["prompt_tokens"] == 7);
  CHECK(many["usage"]["completion_tokens"] == 12);
  const json ids = json::parse(f.post("/v1/completions", R"({"prompt":[97,98],"logprobs":2})").body);
  CHECK(ids["choices"][0]["logprobs"]["tokens"] == json::array({"H", "e", "l", "l", "o"}));
  CHECK(ids["choices"][0]["logprobs"]["text_offset"] == json::array({0, 1, 2, 3, 4}));
  CHECK(ids["choices"][0]["logprobs"]["top_logprobs"][0]["z"] == -1.5);
  CHECK(ids["usage"]["prompt_tokens"] == 2);
  CHECK(f.service.requests().back().stop.max_tokens == 16);
  const auto events =
      events_of(f.post("/v1/completions", R"({"prompt":"ab","echo":true,"stream":true})").body);
  CHECK(events.front()["choices"][0]["text"] == "ab");
  CHECK(events.front()["object"] == "text_completion");
}

TEST_CASE("a stop string ends its choice only and cancels it at the engine") {
  Fixture f;
  FakeService::Behaviour behaviour;
  behaviour.script = [](const Request& request) {
    std::vector<TokenId> ids = ids_of(request.choice == 1 ? "one STOP" : "other");
    if (request.choice == 1) ids.insert(ids.end(), 3000, 'x');
    return ids;
  };
  f.service.configure(behaviour);
  const json body = json::parse(f.post("/v1/chat/completions", chat(R"("n":2,"stop":["STOP"])")).body);
  CHECK(body["choices"][1]["message"]["content"] == "one ");
  CHECK(body["choices"][1]["finish_reason"] == "stop");
  CHECK(body["choices"][0]["message"]["content"] == "other");
  CHECK(body["usage"]["completion_tokens"] == 8 + 6);
  CHECK(f.idle());
  CHECK(f.service.cancelled() == 1);
}

TEST_CASE("bad requests get OpenAI's errors and the connection lives on") {
  Fixture f(options(), 50);
  RawClient client(f.port);
  const auto ask = [&](const std::string& body) {
    client.post("/v1/chat/completions", body);
    return client.read();
  };
  const std::tuple<std::string, int, const char*> cases[] = {
      {"{broken", 400, nullptr},
      {"[]", 400, nullptr},
      {R"({"messages":[]})", 400, "messages"},
      {chat(R"("temperature":3)"), 400, "temperature"},
      {chat(R"("max_tokens":0)"), 400, "max_tokens"},
      {chat(R"("max_tokens":-4)"), 400, "max_tokens"},
      {chat(R"("max_tokens":48)"), 400, "max_tokens"},
      {chat("", std::string(60, 'a')), 400, "messages"},
      {R"({"model":"none","messages":[{"role":"user","content":"x"}]})", 404, "model"},
      {R"({"messages":[{"role":"forbidden","content":"x"}]})", 400, "messages"},
  };
  for (const auto& [body, status, param] : cases) {
    INFO(body);
    const RawReply reply = ask(body);
    CHECK(reply.status == status);
    const json error = error_of(reply);
    CHECK(error["message"].is_string());
    CHECK(error["param"] == (param == nullptr ? json(nullptr) : json(param)));
  }
  CHECK(error_of(ask(chat("", std::string(60, 'a'))))["code"] == "context_length_exceeded");
  CHECK(ask(chat()).status == 200);
  CHECK(f.service.requests().size() == 1);
}

TEST_CASE("large bodies, endless headers, slow headers and garbage end with a clear status") {
  FrontendOptions strict = options();
  strict.max_body_bytes = 1 << 20;
  strict.header_timeout = 300ms;
  strict.body_timeout = 300ms;
  Fixture f(strict);
  RawClient large(f.port);
  large.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 10485760\r\n\r\n");
  CHECK(large.read().status == 413);  // before a byte of the body was sent
  RawClient blind(f.port);
  const bool sent = blind.post("/v1/completions", std::string(10 << 20, 'x'));
  CHECK((!sent || blind.read().status == 413));
  RawClient endless(f.port);
  endless.send("GET /health HTTP/1.1\r\n" + std::string(70000, 'x'));
  CHECK(endless.read().status == 431);
  RawClient slow(f.port);
  slow.send("GET /health HTTP/1.1\r\nX: ");
  CHECK(slow.read().status == 408);
  CHECK(slow.at_end());
  RawClient half(f.port);
  half.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  CHECK(half.read().status == 408);
  RawClient garbage(f.port);
  garbage.send("\x16\x03\x01 garbage\r\n\r\n");
  CHECK(garbage.read().status == 400);
  RawClient nothing(f.port);
  nothing.close();
  CHECK(f.get("/health").status == 200);
}

TEST_CASE("Expect, keep-alive, pipelining and HTTP/1.0 work as clients expect") {
  Fixture f;
  RawClient client(f.port);
  const std::string body = chat();
  client.send("POST /v1/chat/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  CHECK(client.read_until("100 Continue\r\n\r\n"));
  client.send(body);
  CHECK(client.read().status == 200);
  CHECK(client.informational() == 1);
  // Two generations and a plain request in one write.
  client.post("/v1/chat/completions", chat(R"("stream":true)"));
  client.post("/v1/chat/completions", chat());
  client.get("/version");
  CHECK(events_of(client.read().body).back() == "[DONE]");
  CHECK(client.read().status == 200);
  CHECK(client.read().body.find("version") != std::string::npos);
  RawClient old(f.port);
  old.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " +
           std::to_string(chat(R"("stream":true)").size()) + "\r\n\r\n" + chat(R"("stream":true)"));
  const RawReply stream = old.read();
  CHECK_FALSE(stream.headers.contains("transfer-encoding"));
  CHECK(events_of(stream.body).back() == "[DONE]");
  CHECK(old.at_end());
}

TEST_CASE("a client that goes away cancels its request") {
  Fixture f;
  for (const bool stream : {true, false}) {
    for (const bool reset : {true, false}) {
      INFO(stream << reset);
      f.service.allow_tokens(2);
      const int before = f.service.cancelled();
      RawClient client(f.port);
      client.post("/v1/chat/completions", chat(stream ? R"("stream":true)" : R"("n":2)"));
      const int live = stream ? 1 : 2;
      REQUIRE(eventually([&] { return static_cast<int>(f.service.live()) == live; }));
      if (stream) CHECK(client.read_until("content"));
      reset ? client.reset() : client.close();
      CHECK(f.idle());
      CHECK(f.service.cancelled() == before + live);
    }
  }
  f.service.allow_tokens(-1);
  CHECK(f.post("/v1/chat/completions", chat()).status == 200);
}

TEST_CASE("a client that stops reading is dropped, by size or by time") {
  for (const bool by_size : {true, false}) {
    INFO(by_size);
    FrontendOptions strict = options();
    strict.max_buffered_bytes = by_size ? 64 << 10 : 1 << 30;
    strict.write_timeout = by_size ? Duration(60s) : Duration(300ms);
    Fixture f(strict);
    FakeService::Behaviour behaviour;
    behaviour.script = [](const Request&) { return std::vector<TokenId>(60000, kLong); };
    behaviour.eos = false;
    f.service.configure(behaviour);
    f.service.allow_tokens(
        40000);  // 16 MB: more than the kernel's buffers take; the request stays unfinished
    RawClient client(f.port, 4096);
    client.post("/v1/chat/completions", chat(R"("stream":true)"));
    REQUIRE(eventually([&] { return f.service.cancelled() == 1; }));
    CHECK(f.idle());
    CHECK(client.at_end());
    CHECK_FALSE(client.buffered().ends_with("0\r\n\r\n"));
    CHECK(f.get("/health").status == 200);
  }
}

TEST_CASE("full queues answer 429, too many connections 503") {
  FrontendOptions small = options();
  small.max_queued_requests = 2;
  small.max_connections = 3;
  Fixture f(small);
  f.service.allow_tokens(0);
  RawClient first(f.port);
  first.post("/v1/chat/completions", chat(R"("n":2)"));
  REQUIRE(eventually([&] { return f.service.live() == 2; }));
  RawClient second(f.port);
  second.post("/v1/chat/completions", chat());
  const RawReply busy = second.read();
  CHECK(busy.status == 429);
  CHECK(busy.headers.at("retry-after") == "1");
  second.post("/v1/chat/completions", chat(R"("n":3)"));
  const RawReply never = second.read();
  CHECK(never.status == 400);
  CHECK(error_of(never)["param"] == "n");
  RawClient third(f.port);
  third.get("/health");
  CHECK(third.read().status == 200);
  RawClient fourth(f.port);
  CHECK(fourth.read().status == 503);
  f.service.allow_tokens(-1);
  CHECK(first.read().status == 200);
  REQUIRE(f.idle());
  CHECK(eventually([&] {
    second.post("/v1/chat/completions", chat());
    return second.read().status == 200;
  }));
}

TEST_CASE("an engine's refusal or failure becomes a status before the stream, an error object inside it") {
  Fixture f;
  FakeService::Behaviour refusing = says("x");
  refusing.refuse = make_error(ErrorCode::overloaded, "queue full");
  refusing.accept_first = 1;
  f.service.configure(refusing);
  f.service.allow_tokens(0);
  const RawReply busy = f.post("/v1/chat/completions", chat(R"("n":2)"));
  CHECK(busy.status == 429);
  CHECK(busy.headers.at("retry-after") == "1");
  CHECK(f.idle());  // the accepted choice is cancelled with the refused one
  CHECK(f.service.cancelled() == 1);
  f.service.allow_tokens(-1);
  FakeService::Behaviour failing = says("Hello");
  failing.fail = make_error(ErrorCode::unavailable, "the decode node is gone");
  f.service.configure(failing);
  CHECK(f.post("/v1/chat/completions", chat(R"("stream":true)")).status == 503);
  failing.fail_after = 3;
  f.service.configure(failing);
  CHECK(f.post("/v1/chat/completions", chat()).status == 503);
  RawClient client(f.port);
  client.post("/v1/chat/completions", chat(R"("stream":true)"));
  const RawReply reply = client.read();
  CHECK(reply.status == 200);
  CHECK(client.chunks_complete());
  const auto events = events_of(reply.body);
  CHECK(events.back() == "[DONE]");
  CHECK(events[events.size() - 2]["error"]["message"] == "the decode node is gone");
  CHECK(events[events.size() - 3]["choices"][0]["finish_reason"].is_null());
}

TEST_CASE("a hung engine costs a request its deadline, not for ever") {
  FrontendOptions strict = options();
  strict.request_timeout = 200ms;
  Fixture f(strict);
  FakeService::Behaviour deaf = says("x");
  deaf.deaf = true;
  f.service.configure(deaf);
  const RawReply unary = f.post("/v1/chat/completions", chat());
  CHECK(unary.status == 504);
  CHECK(unary.headers.at("x-should-retry") == "false");
  f.service.configure(says("Hello"));
  f.service.allow_tokens(2);
  const auto events = events_of(f.post("/v1/chat/completions", chat(R"("stream":true)")).body);
  CHECK(events.back() == "[DONE]");
  CHECK(events[events.size() - 2]["error"]["code"] == "deadline_exceeded");
}

TEST_CASE("draining finishes what runs, refuses what is new, and stop ends the rest") {
  Fixture f;
  f.service.allow_tokens(1);
  RawClient idle(f.port);
  idle.get("/health");
  CHECK(idle.read().status == 200);
  RawClient busy(f.port);
  busy.post("/v1/chat/completions", chat(R"("stream":true)"));
  REQUIRE(busy.read_until("content"));
  f.server.stop_accepting();
  CHECK(idle.at_end());
  CHECK_FALSE(RawClient(f.port).connected());
  CHECK_FALSE(f.server.drain(50ms));
  f.service.allow_tokens(-1);
  CHECK(events_of(busy.read().body).back() == "[DONE]");
  CHECK(busy.at_end());
  CHECK(f.server.drain(20s));
}

TEST_CASE("stop in mid-stream says so to the client and cancels at the engine") {
  Fixture f;
  f.service.allow_tokens(1);
  RawClient client(f.port);
  client.post("/v1/chat/completions", chat(R"("stream":true)"));
  REQUIRE(client.read_until("content"));
  f.server.stop();
  const auto events = events_of(client.read().body);
  CHECK(events.back() == "[DONE]");
  CHECK(events[events.size() - 2]["error"]["code"] == "unavailable");
  CHECK(f.idle());
}

TEST_CASE("a port in use is named") {
  Fixture f;
  FrontendOptions same = options();
  same.port = f.port;
  HttpServer second(same, f.services(10));
  const auto result = second.start();
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::io);
  CHECK(result.error().message.find(std::to_string(f.port)) != std::string::npos);
}

TEST_CASE("metrics count requests, tokens and the engine's state") {
  Fixture f;
  f.post("/v1/chat/completions", chat());
  f.post("/v1/completions", R"({"prompt":"a","stream":true})");
  f.post("/v1/chat/completions", "{");
  // A request counts when its answer is out, which the client may see first.
  const std::string requests =
      R"(dynamo_frontend_requests_total{endpoint="chat_completions",model="org/demo",)";
  std::string text;
  REQUIRE(eventually([&] {
    text = f.get("/metrics").body;
    return metric(text, requests + R"(request_type="unary",status="error"})") == 1;
  }));
  CHECK(metric(text, requests + R"(request_type="unary",status="success"})") == 1);
  const std::string labels = R"({engine="0",model_name="org/Demo"})";
  CHECK(metric(text, "vllm:generation_tokens_total" + labels) == 12);
  CHECK(metric(text, "vllm:prompt_tokens_total" + labels) == 11);
  CHECK(metric(text, "vllm:time_to_first_token_seconds_count" + labels) == 2);
  CHECK(metric(text, "vllm:num_requests_running" + labels) == 3);
  CHECK(metric(text, R"(dynamo_frontend_inflight_requests{model="org/demo"})") == 0);
  CHECK(metric(text, R"(dynamo_frontend_queued_requests{model="org/demo"})") == 0);
  CHECK(metric(text,
               R"(vllm:request_success_total{engine="0",finished_reason="stop",model_name="org/Demo"})") ==
        2);
}

TEST_CASE("many clients at once all get their own answer") {
  Fixture f;
  FakeService::Behaviour echo;
  echo.script = [](const Request& request) { return request.prompt; };
  f.service.configure(echo);
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&, i] {
      RawClient client(f.port);
      for (int k = 0; k < 5; ++k) {
        const std::string text = "client " + std::to_string(i * 100 + k);
        client.post("/v1/chat/completions", chat("", text));
        const RawReply reply = client.read();
        if (reply.body.find("user:" + text) != std::string::npos) ++right;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(right == 80);
}
