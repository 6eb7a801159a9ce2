// Who gets in over HTTP: API keys and their file, tenants, the admin listener, and what no client can say.
#include <filesystem>
#include <fstream>
#include <set>

#include "baton/frontend/api_keys.hpp"
#include "frontend/access.hpp"
#include "frontend/server_fixture.hpp"
#include "frontend/temporary_folder.hpp"

using namespace baton;
using namespace baton::test;
using frontend::isolation_salt;
using nlohmann::json;

namespace {

constexpr const char* kAlice = "sk-alice";
constexpr const char* kBob = "sk-bob";
constexpr const char* kOperator = "sk-operator";

std::string line(const std::string& name, const std::string& key, bool admin = false) {
  return *api_key_line(name, key, admin) + "\n";
}

struct Keys {
  Keys() { write(line("alice", kAlice) + line("bob", kBob) + line("ops", kOperator, true)); }
  void write(const std::string& text) { folder.write("keys", text); }
  FrontendOptions options() const {
    FrontendOptions out = test::options();
    out.api_key_file = folder.path("keys");
    return out;
  }
  TemporaryFolder folder;
};

std::string bearer(const std::string& key) { return "Authorization: Bearer " + key + "\r\n"; }

RawReply ask(std::uint16_t port, const std::string& start, const std::string& headers = "",
             const std::string& body = "") {
  RawClient client(port);
  client.send(start + " HTTP/1.1\r\nHost: x\r\n" + headers +
              (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") + "\r\n" +
              body);
  return client.read(start.starts_with("HEAD"));
}

void check_refused(const RawReply& reply, int status, const std::string& code) {
  REQUIRE(reply.status == status);
  const json error = error_of(reply);
  CHECK(error["code"] == code);
  CHECK(error["type"] == "invalid_request_error");
  CHECK(error["param"].is_null());
  CHECK(error["message"].is_string());
  CHECK(error.size() == 4);
  CHECK(reply.headers.contains("www-authenticate") == (status == 401));
  CHECK_FALSE(reply.headers.contains("x-baton-node"));
}

}  // namespace

TEST_CASE("a key file is names, hashes and attributes; what is wrong is named by its line, not repeated") {
  const std::string good = "# tenants\n\n" + line("alice", kAlice) + "  " + line("alice", "sk-next") +
                           "ops\t" + to_hex(sha256(kOperator)) + " admin # who drains\r\n";
  const auto keys = ApiKeys::parse(good, "f");
  REQUIRE(keys);
  CHECK(keys->size() == 3);
  CHECK(keys->find(kAlice)->name == "alice");
  CHECK(keys->find("sk-next")->name == "alice");  // both, while one is being replaced
  CHECK(keys->find(kOperator)->admin);
  CHECK_FALSE(keys->find(kAlice)->admin);
  CHECK(keys->find("") == nullptr);
  CHECK(keys->find("sk-alice ") == nullptr);
  CHECK(keys->find(to_hex(sha256(kAlice))) == nullptr);  // the hash itself opens nothing

  const std::string hash = to_hex(sha256("x"));
  const std::pair<std::string, const char*> bad[] = {
      {"", "there is no key in it"},
      {"# only a comment\n", "there is no key in it"},
      {line("a", "k") + "sk-secret\n", "f:2: expected a name and the SHA-256"},
      {"alice sk-secret\n", "f:1: expected a name and the SHA-256"},
      {"alice " + hash.substr(1) + "\n", "`baton api-key NAME`"},
      {"alice " + hash.substr(1) + "g\n", "64 hex digits"},
      {"sk-secret: " + hash + "\n", "f:1: the name must be"},
      {std::string(65, 'a') + " " + hash, "f:1: the name must be"},
      {"\n\na " + hash + " sk-secret\n", "f:3: unknown attribute"},
      {line("a", "k") + line("b", "k"), "f:2: this key stands here twice"},
  };
  for (const auto& [text, what] : bad) {
    INFO(text);
    const auto parsed = ApiKeys::parse(text, "f");
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().message.find(what) != std::string::npos);
    CHECK(parsed.error().message.find("sk-secret") == std::string::npos);
  }
  CHECK(ApiKeys::load("/nonexistent").error().code == ErrorCode::io);
}

TEST_CASE("a drawn key opens with the line that was printed for it") {
  const auto one = draw_api_key(), two = draw_api_key();
  REQUIRE(one);
  REQUIRE(two);
  CHECK(*one != *two);
  CHECK(one->size() == 3 + 64);
  const auto keys = ApiKeys::parse(*api_key_line("n", *one, true), "f");
  REQUIRE(keys);
  CHECK(keys->find(*one)->admin);
  CHECK(keys->find(*two) == nullptr);
  CHECK_FALSE(api_key_line("two words", *one, false));
}

TEST_CASE("with keys, a stranger gets 401 from everything but health, and learns nothing") {
  Keys keys;
  Fixture f(keys.options());
  for (const char* start :
       {"GET /v1/models", "GET /v1/models/x", "GET /version", "GET /metrics", "GET /cluster", "GET /nothing",
        "GET /v1/completions", "DELETE /v1/models", "GET /"}) {
    INFO(start);
    check_refused(ask(f.port, start), 401, "invalid_api_key");
    check_refused(ask(f.port, start, bearer("sk-wrong")), 401, "invalid_api_key");
  }
  for (const char* start : {"POST /v1/chat/completions", "POST /v1/completions", "POST /tokenize",
                            "POST /detokenize", "POST /route/explain", "POST /nothing"}) {
    INFO(start);
    check_refused(ask(f.port, start, "", chat()), 401, "invalid_api_key");
  }
  const std::string broken[] = {bearer(""),
                                "Authorization: Basic c2stYWxpY2U=\r\n",
                                "Authorization: sk-alice\r\n",
                                bearer("sk-alice sk-alice"),
                                bearer(std::string(20000, 'k')),
                                "x-api-key: \r\n",
                                bearer("sk-wrong") + "x-api-key: sk-alice\r\n"};
  for (const std::string& headers : broken)
    check_refused(ask(f.port, "GET /v1/models", headers), 401, "invalid_api_key");
  CHECK(ask(f.port, "HEAD /v1/models").status == 401);
  for (const char* start : {"GET /health", "GET /health/live", "HEAD /health/ready"}) {
    const RawReply reply = ask(f.port, start);
    CHECK(reply.status == 200);
    CHECK_FALSE(reply.headers.contains("x-baton-node"));
  }
  CHECK(f.service.requests().empty());

  const std::string good[] = {bearer(kAlice), "authorization: bearer   " + std::string(kAlice) + "\r\n",
                              "X-API-Key: sk-alice\r\n", "Authorization: Basic x\r\nX-API-Key: sk-alice\r\n"};
  for (const std::string& headers : good) {
    INFO(headers);
    const RawReply reply = ask(f.port, "POST /v1/chat/completions", headers, chat());
    CHECK(reply.status == 200);
    CHECK(reply.headers.at("x-baton-node") == "node-a");
  }
  CHECK(ask(f.port, "GET /nothing", bearer(kAlice)).status == 404);
}

TEST_CASE("a stranger's body is not read, and a refusal does not end a connection that sent none") {
  Keys keys;
  Fixture f(keys.options());
  RawClient eager(f.port);
  eager.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n");
  const RawReply reply = eager.read();
  check_refused(reply, 401, "invalid_api_key");
  CHECK(eager.informational() == 0);
  CHECK(reply.headers.at("connection") == "close");
  CHECK(eager.at_end());

  RawClient patient(f.port);
  patient.send("GET /v1/models HTTP/1.1\r\n\r\nGET /v1/models HTTP/1.1\r\n" + bearer(kBob) +
               "\r\nGET /v1/models HTTP/1.1\r\n\r\n");
  CHECK(patient.read().status == 401);
  CHECK(patient.read().status == 200);
  check_refused(patient.read(), 401, "invalid_api_key");  // the request before it had a key, this one has not
}

TEST_CASE("keys are read again when the file changes; a broken file keeps the old ones") {
  Keys keys;
  Fixture f(keys.options());
  const auto status = [&](const char* key) { return ask(f.port, "GET /v1/models", bearer(key)).status; };
  CHECK(status(kAlice) == 200);
  keys.write(line("carol", "sk-carol"));
  CHECK(status(kAlice) == 200);  // nobody has looked yet
  f.server.reload(false);
  CHECK(status(kAlice) == 401);
  CHECK(status("sk-carol") == 200);
  for (const std::string& broken :
       {std::string(), std::string("alice sk-alice\n"), line("x", "y") + "???\n"}) {
    keys.write(broken);
    f.server.reload(false);
    f.server.reload(true);
    CHECK(status("sk-carol") == 200);
    CHECK(status(kAlice) == 401);
  }
  std::filesystem::remove(keys.folder.path("keys"));
  f.server.reload(false);
  CHECK(status("sk-carol") == 200);
  keys.write(line("alice", kAlice));
  f.server.reload(false);
  CHECK(status(kAlice) == 200);
  CHECK(status("sk-carol") == 401);
}

TEST_CASE("a server does not start with a key file that it cannot use") {
  Keys keys;
  keys.write("alice sk-alice\n");
  FakeService service;
  ByteTokenizer tokenizer;
  PrometheusMetrics metrics;
  HttpServer server(keys.options(),
                    {service, tokenizer, nullptr, served(), metrics, {}, {}, {}, {}, {}, {}, null_logger()});
  const auto started = server.start();
  REQUIRE_FALSE(started);
  CHECK(started.error().field == "--api-key-file");
}

TEST_CASE("tenants share no prefix cache, whatever salts they choose") {
  Keys keys;
  Fixture f(keys.options());
  const auto salt_of = [&](const char* key, const std::string& extra) {
    REQUIRE(ask(f.port, "POST /v1/chat/completions", bearer(key), chat(extra)).status == 200);
    return f.service.requests().back().cache_salt;
  };
  const std::string alice = salt_of(kAlice, "");
  CHECK(alice.size() == 64);
  CHECK(salt_of(kAlice, "") == alice);
  CHECK(salt_of(kBob, "") != alice);
  CHECK(salt_of(kAlice, R"("cache_salt":"s")") != alice);
  CHECK(salt_of(kAlice, R"("cache_salt":"s")") != salt_of(kBob, R"("cache_salt":"s")"));
  CHECK(salt_of(kBob, R"("cache_salt":")" + alice + '"') != alice);
  REQUIRE(ask(f.port, "POST /v1/embeddings", bearer(kAlice), R"({"input":"a"})").status == 200);
  CHECK(f.service.requests().back().cache_salt == alice);
  CHECK(f.service.requests().back().tenant == "alice");
  CHECK(ask(f.port, "POST /v1/embeddings", "", R"({"input":"a"})").status == 401);
  CHECK(salt_of(kBob, R"("cache_salt":")" + std::string(200000, 's') + '"').size() == 64);

  CHECK(isolation_salt("", "").empty());
  std::set<std::string> seen;
  std::size_t pairs = 0;
  for (const char* tenant : {"", "a", "ab", "1", "1:a", "2:ab"}) {
    for (const char* salt : {"", "a", "b", "ab", "bb", ":a", "1:a", "2:ab"}) {
      seen.insert(isolation_salt(tenant, salt));
      ++pairs;
    }
  }
  CHECK(seen.size() == pairs);
}

TEST_CASE("nothing that a client sends reaches the KV transfer but tokens and a digest of its salt") {
  Fixture f;
  const std::string smuggled =
      R"("phase":"decode","prefill_node":"evil:1","decode_node":"evil:2","generation":7,"choice":9,"output":[1,2],)"
      R"("id":"00000000000000000000000000000001","request_id":"1","transfer":"1","transfer_id":"1","handle":"1",)"
      R"("tenant":"alice","nvext":{"backend_instance_id":3},"extra_args":{"kv_transfer_params":{"remote_host":"evil"}},)"
      R"("remote_block_ids":[1,2],"remote_engine_id":"evil")";
  RawClient client(f.port);
  client.post("/v1/chat/completions", chat(smuggled),
              "x-request-id: 1\r\nx-prefiller-host-port: evil:1\r\nx-data-parallel-host-port: evil:1\r\n");
  REQUIRE(client.read().status == 200);  // unknown fields and headers are ignored, as clients expect
  REQUIRE(f.post("/v1/chat/completions", chat()).status == 200);
  const auto requests = f.service.requests();
  const Request& with = requests.at(0);
  const Request& without = requests.at(1);
  for (const Request* request : {&with, &without}) {
    CHECK(request->phase == Phase::whole);
    CHECK(request->prefill_node.empty());
    CHECK(request->decode_node.empty());
    CHECK(request->output.empty());
    CHECK(request->generation == 0);
    CHECK(request->choice == 0);
    CHECK(request->cache_salt.empty());
  }
  CHECK(with.id != RequestId{0, 1});
  CHECK(with.id != without.id);
  CHECK(with.prompt == without.prompt);
  // Other servers' transfer fields are refused by name: ignoring them would look like obeying them.
  for (const std::string field :
       {R"("kv_transfer_params":{"do_remote_decode":true})", R"("disaggregated_params":{})",
        R"("bootstrap_host":"evil")", R"("bootstrap_port":1)", R"("bootstrap_room":1)"}) {
    INFO(field);
    const RawReply reply = f.post("/v1/chat/completions", chat(field));
    CHECK(reply.status == 400);
    CHECK(error_of(reply)["code"] == "unsupported_value");
  }
  CHECK(f.post("/v1/chat/completions", chat(R"("kv_transfer_params":null)")).status == 200);
}

TEST_CASE("with an admin listener, its routes are there and nowhere else") {
  FrontendOptions apart = options();
  apart.admin = {"127.0.0.1", 0};
  Fixture f(apart);
  const std::uint16_t admin = f.server.admin_port();
  REQUIRE(admin != 0);
  for (const char* start : {"GET /metrics", "GET /cluster"}) {
    CHECK(ask(f.port, start).status == 404);
    CHECK(ask(admin, start).status == 200);
  }
  CHECK(ask(f.port, "POST /route/explain", "", R"({"prompt":[1]})").status == 404);
  CHECK(ask(admin, "POST /route/explain", "", R"({"prompt":[1]})").status == 200);
  for (const char* start : {"GET /v1/models", "GET /v1/models/alias", "GET /version"}) {
    CHECK(ask(f.port, start).status == 200);
    CHECK(ask(admin, start).status == 404);
  }
  CHECK(ask(admin, "POST /v1/chat/completions", "", chat()).status == 404);
  for (const std::uint16_t port : {f.port, admin}) CHECK(ask(port, "GET /health/ready").status == 200);
  RawClient idle(admin);
  idle.get("/health");
  CHECK(idle.read().status == 200);
  f.server.stop_accepting();
  CHECK(idle.at_end());
  CHECK_FALSE(RawClient(admin).connected());
}

TEST_CASE("an admin route wants an admin key, on either listener; such a key is a tenant's, too") {
  Keys keys;
  const bool apart = GENERATE(false, true);
  FrontendOptions with_admin = keys.options();
  if (apart) with_admin.admin = {"127.0.0.1", 0};
  Fixture f(with_admin);
  const std::uint16_t admin = apart ? f.server.admin_port() : f.port;
  check_refused(ask(admin, "GET /metrics"), 401, "invalid_api_key");
  check_refused(ask(admin, "GET /metrics", bearer(kAlice)), 403, "insufficient_permissions");
  check_refused(ask(admin, "POST /route/explain", bearer(kAlice), R"({"prompt":[1]})"), 403,
                "insufficient_permissions");
  CHECK(ask(admin, "GET /metrics", bearer(kOperator)).status == 200);
  CHECK(ask(f.port, "GET /v1/models", bearer(kOperator)).status == 200);
  const auto explained = [&](const std::string& body) {
    return json::parse(ask(admin, "POST /route/explain", bearer(kOperator), body).body);
  };
  CHECK(explained(R"({"prompt":[1],"tenant":"alice"})")["salt"] == isolation_salt("alice", ""));
  CHECK(explained(R"({"prompt":[1]})")["salt"] == isolation_salt("ops", ""));
  CHECK(explained(R"({"prompt":[1],"tenant":5})")["error"]["param"] == "tenant");
}

TEST_CASE("an admin listener that cannot be had is an error") {
  Fixture first;
  FrontendOptions taken = options();
  taken.admin = {"127.0.0.1", first.port};
  FakeService service;
  ByteTokenizer tokenizer;
  PrometheusMetrics metrics;
  HttpServer server(taken,
                    {service, tokenizer, nullptr, served(), metrics, {}, {}, {}, {}, {}, {}, null_logger()});
  const auto started = server.start();
  REQUIRE_FALSE(started);
  CHECK(started.error().field == "--admin-listen");
}
