// POST /v1/embeddings: what is accepted, what comes back, and what becomes of inputs that nobody waits for.
#include <cmath>
#include <cstring>

#include "baton/base/base64.hpp"
#include "frontend/access.hpp"
#include "frontend/openai/embedding_request.hpp"
#include "frontend/openai/embedding_response.hpp"
#include "frontend/server_fixture.hpp"

using namespace baton;
using namespace baton::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr const char* kPath = "/v1/embeddings";

// The vector of a prompt of so many tokens that ends with `last`, as FakeService makes it.
std::vector<float> expected(std::size_t tokens, int last) {
  const double size = static_cast<double>(tokens);
  const double length = std::sqrt(size * size + last * last + 1.0);
  return {static_cast<float>(size / length), static_cast<float>(last / length), 0.0F,
          static_cast<float>(-1 / length)};
}

std::vector<float> from_base64(const json& text) {
  const std::string bytes = decode_base64(text.get<std::string>()).value();
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

FrontendOptions room_for(std::size_t requests) {
  FrontendOptions out = options();
  out.max_queued_requests = requests;
  return out;
}

Result<std::string> shown(std::vector<float> values, std::optional<std::int32_t> dimensions = {}) {
  return frontend::embedding_json(std::move(values), {.base64 = false, .dimensions = dimensions});
}

}  // namespace

TEST_CASE("an input is a string, ids, or several of either") {
  Fixture f;
  const auto vectors = [&](const std::string& input) {
    const RawReply reply = f.post(kPath, R"({"model":"org/Demo","input":)" + input + "}");
    INFO(reply.body);
    REQUIRE(reply.status == 200);
    std::vector<std::vector<float>> out;
    const json body = json::parse(reply.body);
    for (const json& item : body["data"]) {
      CHECK(item["object"] == "embedding");
      CHECK(item["index"] == out.size());
      out.push_back(item["embedding"].get<std::vector<float>>());
    }
    return out;
  };
  using Vectors = std::vector<std::vector<float>>;
  CHECK(vectors(R"("ab")") == Vectors{expected(3, 'b')});  // <s> before it
  CHECK(vectors("[97,98]") == Vectors{expected(2, 'b')});
  CHECK(vectors(R"(["abc"])") == Vectors{expected(4, 'c')});
  CHECK(vectors(R"(["ab","c"])") == Vectors{expected(3, 'b'), expected(2, 'c')});
  CHECK(vectors(R"([[97],"ab",[98,99]])") == Vectors{expected(1, 'a'), expected(3, 'b'), expected(2, 'c')});
  const Request sent = f.service.requests().front();
  CHECK(sent.embed);
  CHECK(sent.stop.max_tokens == 1);
  CHECK(sent.phase == Phase::whole);
  CHECK(sent.deadline < TimePoint::max());
}

TEST_CASE("an answer has the model, the usage, its id and the way it went") {
  Fixture f;
  FakeService::Behaviour behaviour;
  behaviour.handoff.prefill_node = behaviour.handoff.decode_node = "p";
  f.service.configure(behaviour);
  const RawReply reply = f.post(
      kPath,
      R"({"model":"alias","input":["ab",[1]],"user":"u","priority":7,"cache_salt":"s","stream":true})");
  const json body = json::parse(reply.body);
  CHECK(body["object"] == "list");
  CHECK(body["model"] == "org/Demo");
  CHECK(body["usage"] == json{{"prompt_tokens", 4}, {"total_tokens", 4}});
  CHECK(body.size() == 4);
  CHECK(reply.headers.at("x-request-id").starts_with("embd-"));
  CHECK(reply.headers.at("x-baton-route") == "prefill=p, decode=p");
  const std::vector<Request> sent = f.service.requests();
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].id != sent[1].id);
  CHECK(sent[1].priority == 7);
  CHECK(sent[1].cache_salt == frontend::isolation_salt("", "s"));
  CHECK(sent[1].cache_salt != frontend::isolation_salt("", ""));
}

TEST_CASE("vectors are also base64, and also only their first numbers, of length 1") {
  Fixture f;
  const auto one = [&](const std::string& extra) {
    return json::parse(f.post(kPath, R"({"input":[97,98],)" + extra + "}").body)["data"][0]["embedding"];
  };
  CHECK(from_base64(one(R"("encoding_format":"base64")")) == expected(2, 'b'));
  CHECK(one(R"("encoding_format":"float")").get<std::vector<float>>() == expected(2, 'b'));
  const std::vector<float> two = from_base64(one(R"("encoding_format":"base64","dimensions":2)"));
  REQUIRE(two.size() == 2);
  const double length = std::sqrt(4.0 + 98 * 98);
  CHECK(two == std::vector{static_cast<float>(2 / length), static_cast<float>(98 / length)});
  CHECK(one(R"("dimensions":4)").get<std::vector<float>>() == expected(2, 'b'));
}

TEST_CASE("numbers are short and read back to themselves; what has no direction stays zero") {
  CHECK(*shown({3, 4}) == "[0.6,0.8]");
  CHECK(*shown({0, 0, 0}) == "[0,0,0]");
  CHECK(*shown({3, 4, 12}, 2) == "[0.6,0.8]");
  CHECK(*shown({1e-30F, 1e-30F}) == *shown({1, 1}));
  CHECK(*shown({3e38F, 3e38F}) == *shown({1, 1}));
  const std::vector<float> odd = {1, 1e-7F, -1.17549435e-38F, 1e-45F, 1.0F / 3};
  const auto text = shown(odd);
  REQUIRE(text);
  const auto values = json::parse(*text).get<std::vector<float>>();
  REQUIRE(values.size() == odd.size());
  const std::string raw = *frontend::embedding_json(odd, {.base64 = true, .dimensions = {}});
  CHECK(from_base64(json::parse(raw)) == values);
  CHECK(values[3] != 0);
  CHECK_FALSE(shown({}));
  CHECK_FALSE(shown({1, 2}, 3));
  CHECK_FALSE(shown({1, std::numeric_limits<float>::infinity()}));
  std::vector<float> long_ones(1000, -1.17549435e-38F);
  long_ones[0] = 1;
  CHECK(json::parse(*shown(long_ones)).size() == 1000);
}

TEST_CASE("bad requests for embeddings name the field") {
  Fixture f(options(), 8);
  const std::pair<const char*, const char*> bad[] = {
      {R"({})", "input"},
      {R"({"input":null})", "input"},
      {R"({"input":""})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":7})", "input"},
      {R"({"input":{"a":1}})", "input"},
      {R"({"input":["a",""]})", "input[1]"},
      {R"({"input":["a",[]]})", "input[1]"},
      {R"({"input":["a",7]})", "input[1]"},
      {R"({"input":["a",null]})", "input[1]"},
      {R"({"input":[1,259]})", "input[1]"},
      {R"({"input":[[1],[1,-1]]})", "input[1][1]"},
      {R"({"input":"12345678"})", "input"},
      {R"({"input":["a","12345678"]})", "input[1]"},
      {R"({"input":[1,2,3,4,5,6,7,8,9]})", "input"},
      {R"({"input":"a","encoding_format":"int8"})", "encoding_format"},
      {R"({"input":"a","encoding_format":7})", "encoding_format"},
      {R"({"input":"a","dimensions":0})", "dimensions"},
      {R"({"input":"a","dimensions":5})", "dimensions"},
      {R"({"input":"a","dimensions":"2"})", "dimensions"},
      {R"({"input":"a","truncate_prompt_tokens":0})", "truncate_prompt_tokens"},
      {R"({"input":"a","truncate_prompt_tokens":-2})", "truncate_prompt_tokens"},
      {R"({"input":"a","truncate_prompt_tokens":9})", "truncate_prompt_tokens"},
      {R"({"input":"a","priority":"high"})", "priority"},
      {R"({"input":"a","cache_salt":1})", "cache_salt"},
      {R"({"input":"a","user":1})", "user"},
      {R"({"input":"a","kv_transfer_params":{}})", "kv_transfer_params"}};
  for (const auto& [body, field] : bad) {
    INFO(body);
    const RawReply reply = f.post(kPath, body);
    CHECK(reply.status == 400);
    CHECK(error_of(reply)["param"] == field);
  }
  CHECK(f.service.requests().empty());
  std::string many = R"({"input":["a")";
  for (int i = 0; i < 2048; ++i) many += R"(,"a")";
  CHECK(error_of(f.post(kPath, many + "]}"))["message"] ==
        "Invalid 'input': expected at most 2048 items, got 2049.");
  const json long_one = error_of(f.post(kPath, R"({"input":["a","12345678"]})"));
  CHECK(long_one["code"] == "context_length_exceeded");
  CHECK(long_one["message"] ==
        "This model's maximum context length is 8 tokens. However, 'input[1]' has 9 tokens.");
  CHECK(f.post(kPath, R"({"model":"gpt-4","input":"a"})").status == 404);
  CHECK(f.get(kPath).status == 405);
  CHECK(f.post(kPath, R"({"input":"1234567"})").status == 200);  // fills the context: no answer follows
}

TEST_CASE("on request an input is cut to its last tokens") {
  Fixture f(options(), 8);
  const auto prompt = [&](const std::string& extra) {
    const RawReply reply = f.post(kPath, R"({"input":"123456789",)" + extra + "}");
    REQUIRE(reply.status == 200);
    const std::vector<TokenId> ids = f.service.requests().back().prompt;
    CHECK(json::parse(reply.body)["usage"]["prompt_tokens"] == ids.size());
    return ids;
  };
  CHECK(prompt(R"("truncate_prompt_tokens":3)") == ids_of("789"));
  CHECK(prompt(R"("truncate_prompt_tokens":-1)") == ids_of("23456789"));
  CHECK(f.post(kPath, R"({"input":"1","truncate_prompt_tokens":8,"add_special_tokens":false})").status ==
        200);
  CHECK(f.service.requests().back().prompt == ids_of("1"));
}

TEST_CASE("a model that makes no embeddings says why") {
  Fixture f(options(), 8, {}, "<s>", nullptr, "This model generates text.");
  const RawReply reply = f.post(kPath, R"({"input":"a"})");
  CHECK(reply.status == 400);
  CHECK(error_of(reply) == json{{"message", "This model generates text."},
                                {"type", "invalid_request_error"},
                                {"param", "model"},
                                {"code", "unsupported_value"}});
  CHECK(f.post(kPath, R"({"model":"other","input":"a"})").status == 404);
  CHECK(f.service.requests().empty());
}

TEST_CASE("embeddings stand in the order of their inputs, however they come") {
  Fixture f;
  std::atomic<int> lowest{100};
  FakeService::Behaviour behaviour;
  behaviour.held = [&](const Request& request) { return request.prompt.back() < lowest; };
  f.service.configure(behaviour);
  RawClient client(f.port);
  client.post(kPath, R"({"input":[[1],[2],[3]]})");
  for (const int next : {3, 2, 1}) {
    CHECK(eventually([&] { return f.service.live() == static_cast<std::size_t>(next); }));
    lowest = next;
  }
  const json body = json::parse(client.read().body);
  for (int i = 0; i < 3; ++i) {
    CHECK(body["data"][i]["index"] == i);
    CHECK(body["data"][i]["embedding"].get<std::vector<float>>() == expected(1, i + 1));
  }
}

TEST_CASE("the first error is the answer and ends the others") {
  Fixture f;
  FakeService::Behaviour behaviour;
  behaviour.held = [](const Request& request) { return request.prompt.back() != 2; };
  behaviour.fail = make_error(ErrorCode::unavailable, "gone", "prompt");
  behaviour.fail->retry_after_s = 9;
  f.service.configure(behaviour);
  const RawReply reply = f.post(kPath, R"({"input":[[1],[2],[3]]})");
  CHECK(reply.status == 503);
  CHECK(reply.headers.at("retry-after") == "9");
  CHECK(error_of(reply)["param"] == "input[1]");
  CHECK(f.idle());
  CHECK(f.service.cancelled() == 2);

  FakeService::Behaviour refusing;
  refusing.held = [](const Request&) { return true; };
  refusing.refuse = make_error(ErrorCode::unavailable, "no engine");
  refusing.accept_first = 2;
  f.service.configure(refusing);
  CHECK(f.post(kPath, R"({"input":[[1],[2],[3]]})").status == 503);
  CHECK(f.idle());
  CHECK(f.service.cancelled() == 4);

  FakeService::Behaviour broken;
  broken.embed = [](const Request&) { return std::vector<float>(); };
  f.service.configure(broken);
  CHECK(f.post(kPath, R"({"input":"a"})").status == 500);
}

TEST_CASE("inputs beyond the limit wait for the places of those before them") {
  Fixture f(room_for(2));
  std::atomic<bool> open{false};
  FakeService::Behaviour behaviour;
  behaviour.held = [&](const Request&) { return !open; };
  f.service.configure(behaviour);
  RawClient client(f.port);
  client.post(kPath, R"({"input":[[1],[2],[3],[4],[5],[6],[7]]})");
  CHECK(eventually([&] { return f.service.live() == 2; }));
  open = true;
  const json body = json::parse(client.read().body);
  REQUIRE(body["data"].size() == 7);
  for (int i = 0; i < 7; ++i)
    CHECK(body["data"][i]["embedding"].get<std::vector<float>>() == expected(1, i + 1));
  CHECK(f.service.most_live() == 2);
  CHECK(f.service.requests().size() == 7);

  // The places are given back: the same again, and two choices.
  CHECK(f.post(kPath, R"({"input":[[1],[2],[3]]})").status == 200);
  CHECK(eventually([&] { return f.post("/v1/completions", R"({"prompt":"a","n":2})").status == 200; }));
}

TEST_CASE("a request takes the places that are free, and none is a 429") {
  Fixture f(room_for(2));
  std::atomic<bool> open{false};
  FakeService::Behaviour behaviour;
  behaviour.held = [&](const Request& request) { return !open && request.prompt.back() == 99; };
  f.service.configure(behaviour);
  RawClient first(f.port);
  first.post(kPath, R"({"input":[99]})");
  CHECK(eventually([&] { return f.service.live() == 1; }));
  CHECK(json::parse(f.post(kPath, R"({"input":[[1],[2],[3]]})").body)["data"].size() == 3);
  CHECK(f.service.most_live() == 2);
  RawClient second(f.port);
  second.post(kPath, R"({"input":[99]})");
  CHECK(eventually([&] { return f.service.live() == 2; }));
  const RawReply refused = f.post(kPath, R"({"input":[[1],[2]]})");
  CHECK(refused.status == 429);
  CHECK(refused.headers.contains("retry-after"));
  open = true;
  CHECK(first.read().status == 200);
  CHECK(second.read().status == 200);
}

TEST_CASE("an input that an engine has no room for waits for the others") {
  Fixture f;
  std::atomic<int> refusals{0};
  FakeService::Behaviour behaviour;
  behaviour.fail_if = [&](const Request& request) -> std::optional<Error> {
    if (request.prompt.back() < 3 || ++refusals > 2) return std::nullopt;
    return make_error(ErrorCode::overloaded, "the queue is full", "prompt");
  };
  behaviour.held = [&](const Request& request) { return request.prompt.back() < 3 && refusals < 2; };
  f.service.configure(behaviour);
  const json body = json::parse(f.post(kPath, R"({"input":[[1],[2],[3],[4]]})").body);
  REQUIRE(body["data"].size() == 4);
  for (int i = 0; i < 4; ++i)
    CHECK(body["data"][i]["embedding"].get<std::vector<float>>() == expected(1, i + 1));
  CHECK(f.service.requests().size() == 6);
  CHECK(f.service.cancelled() == 0);

  FakeService::Behaviour full;
  full.refuse = make_error(ErrorCode::overloaded, "the queue is full");
  full.accept_first = 1;
  f.service.configure(full);
  const RawReply reply = f.post(kPath, R"({"input":[[1],[2],[3]]})");
  CHECK(reply.status == 429);  // after the first had ended, nothing was in flight that could make room
  CHECK(f.idle());
}

TEST_CASE("no more than a bounded number of inputs is on its way") {
  Fixture f(room_for(4096));
  std::atomic<bool> open{false};
  FakeService::Behaviour behaviour;
  behaviour.held = [&](const Request&) { return !open; };
  f.service.configure(behaviour);
  std::string many = R"({"encoding_format":"base64","input":[[1])";
  for (int i = 1; i < 2048; ++i) many += ",[" + std::to_string(i % 200) + "]";
  RawClient client(f.port);
  client.post(kPath, many + "]}");
  CHECK(eventually([&] { return f.service.live() == 128; }));
  open = true;
  const json body = json::parse(client.read().body);
  REQUIRE(body["data"].size() == 2048);
  CHECK(from_base64(body["data"][2047]["embedding"]) == expected(1, 2047 % 200));
  CHECK(f.service.most_live() == 128);
}

TEST_CASE("a client that leaves, a deadline and a shutdown cancel all inputs") {
  FrontendOptions with = options();
  SECTION("client") {
    Fixture f(with);
    FakeService::Behaviour behaviour;
    behaviour.held = [](const Request&) { return true; };
    f.service.configure(behaviour);
    {
      RawClient client(f.port);
      client.post(kPath, R"({"input":["a","b","c"]})");
      CHECK(eventually([&] { return f.service.live() == 3; }));
    }
    CHECK(f.idle());
    CHECK(f.service.cancelled() == 3);
  }
  SECTION("deadline") {
    with.request_timeout = 100ms;
    Fixture f(with);
    FakeService::Behaviour behaviour;
    behaviour.held = [](const Request&) { return true; };
    f.service.configure(behaviour);
    const RawReply reply = f.post(kPath, R"({"input":["a","b"]})");
    CHECK(reply.status == 504);
    CHECK(reply.headers.at("x-should-retry") == "false");
    CHECK(f.idle());
  }
  SECTION("shutdown") {
    Fixture f(with);
    FakeService::Behaviour behaviour;
    behaviour.held = [](const Request&) { return true; };
    f.service.configure(behaviour);
    RawClient client(f.port);
    client.post(kPath, R"({"input":["a","b"]})");
    CHECK(eventually([&] { return f.service.live() == 2; }));
    f.server.stop();
    CHECK(client.read().status == 503);
    CHECK(f.idle());
  }
}

TEST_CASE("embeddings are counted under their endpoint") {
  Fixture f;
  CHECK(f.post(kPath, R"({"input":["ab",[1]]})").status == 200);
  CHECK(f.post(kPath, R"({"input":[]})").status == 400);
  const auto has = [&](const std::string& line) {
    return eventually([&] { return f.metrics.text().find("\n" + line + "\n") != std::string::npos; });
  };
  const std::string labels = R"(endpoint="embeddings",model="org/demo",request_type="unary",status=)";
  CHECK(has("dynamo_frontend_requests_total{" + labels + R"("success"} 1)"));
  CHECK(has("dynamo_frontend_requests_total{" + labels + R"("error"} 1)"));
  CHECK(has(R"(vllm:prompt_tokens_total{engine="0",model_name="org/Demo"} 4)"));
  CHECK(has(R"(vllm:e2e_request_latency_seconds_count{engine="0",model_name="org/Demo"} 1)"));
  CHECK(has(R"(vllm:request_decode_time_seconds_count{engine="0",model_name="org/Demo"} 0)"));
  CHECK(has(R"(dynamo_frontend_inflight_requests{model="org/demo"} 0)"));
  CHECK(has(R"(dynamo_frontend_queued_requests{model="org/demo"} 0)"));
}
