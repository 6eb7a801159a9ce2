// The server over TLS: what works in plain works here, deadlines included, and nothing works without it.
#include "frontend/server_fixture.hpp"
#include "frontend/temporary_folder.hpp"
#include "frontend/tls_client.hpp"

using namespace baton;
using namespace baton::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

struct Certificate {
  explicit Certificate(const std::string& name = "first") { write(self_signed(name)); }
  void write(const Pem& pem) {
    folder.write("cert", pem.certificate);
    folder.write("key", pem.key);
  }
  FrontendOptions options() const {
    FrontendOptions out = test::options();
    out.tls_certificate = folder.path("cert");
    out.tls_key = folder.path("key");
    return out;
  }
  TemporaryFolder folder;
};

Error start_error(const FrontendOptions& options) {
  FakeService service;
  ByteTokenizer tokenizer;
  PrometheusMetrics metrics;
  HttpServer server(options,
                    {service, tokenizer, nullptr, served(), metrics, {}, {}, {}, {}, {}, {}, null_logger()});
  const auto started = server.start();
  REQUIRE_FALSE(started);
  return started.error();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("TLS: answers, streams, keep-alive, large bodies, and a proper end") {
  Certificate certificate;
  Fixture f(certificate.options());
  TlsClient client(f.port);
  REQUIRE(client.secured());
  CHECK(client.version() == "TLSv1.3");
  CHECK(client.peer_name() == "first");
  client.request("GET /v1/models");
  CHECK(contains(client.read_until("]}"), "HTTP/1.1 200 OK"));
  client.request("POST /v1/chat/completions", "", chat(R"("stream":true)"));
  CHECK(contains(client.read_until("[DONE]"), R"("content":"H")"));
  client.request("POST /tokenize", "", json{{"prompt", std::string(1 << 20, 'a')}}.dump());
  CHECK(contains(client.read_until(R"("token_strs":null)"), R"("count":1048577)"));
  client.request("POST /v1/completions", "Connection: close\r\n", R"({"prompt":"x"})");
  CHECK(contains(client.read_to_end(), "text_completion"));
  CHECK(client.ended_properly());
  TlsClient older(f.port, TLS1_2_VERSION);
  CHECK(older.secured());
  CHECK(older.version() == "TLSv1.2");
  CHECK_FALSE(TlsClient(f.port, TLS1_1_VERSION).secured());
}

TEST_CASE("TLS: plain HTTP is told so, and other bytes get nothing that helps") {
  Certificate certificate;
  FrontendOptions apart = certificate.options();
  apart.admin = {"127.0.0.1", 0};
  Fixture f(apart);
  for (const std::uint16_t port : {f.port, f.server.admin_port()}) {
    RawClient plain(port);
    plain.post("/v1/chat/completions", chat());
    const RawReply reply = plain.read();
    CHECK(reply.status == 400);
    CHECK(contains(error_of(reply)["message"], "https://"));
    CHECK_FALSE(contains(reply.body, "Hello"));
    CHECK(plain.at_end());
  }
  RawClient garbage(f.port);  // a handshake's record, without a handshake in it
  garbage.send(std::string_view("\x16\x03\x01\x00\x05hello", 10));
  CHECK(garbage.at_end());
  CHECK_FALSE(contains(garbage.buffered(), "HTTP"));
  RawClient gone(f.port);
  gone.close();
  CHECK(f.service.requests().empty());
  CHECK(TlsClient(f.port).secured());
}

TEST_CASE("TLS: a handshake that is never finished, and slow headers behind one, are cut off") {
  Certificate certificate;
  FrontendOptions strict = certificate.options();
  strict.header_timeout = 200ms;
  strict.idle_timeout = 200ms;
  Fixture f(strict);
  RawClient silent(f.port), stalled(f.port);
  stalled.send(std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));  // half a ClientHello
  CHECK(silent.at_end());
  CHECK(stalled.at_end());
  CHECK(stalled.buffered().empty());
  TlsClient slow(f.port);
  slow.send("GET /health HTTP/1.1\r\nX-");
  CHECK(contains(slow.read_to_end(), "HTTP/1.1 408 "));
  CHECK(slow.ended_properly());
  TlsClient idle(f.port);
  CHECK(idle.read_to_end().empty());
  CHECK(idle.ended_properly());
  CHECK(eventually([&] { return contains(f.metrics.text(), "baton_http_connections 0"); }));
}

TEST_CASE("TLS: who stops reading is dropped, who leaves cancels") {
  Certificate certificate;
  FrontendOptions strict = certificate.options();
  strict.write_timeout = 300ms;
  strict.max_buffered_bytes = 256 << 20;  // so that the time alone decides
  Fixture f(strict);
  FakeService::Behaviour endless;
  endless.script = [](const Request&) { return std::vector<TokenId>(20000, kLong); };
  f.service.configure(endless);
  TlsClient stuck(f.port, 0, 4096);
  stuck.request("POST /v1/completions", "", R"({"prompt":"x","max_tokens":20000,"stream":true})");
  REQUIRE(eventually([&] { return f.service.requests().size() == 1; }));
  // It never reads and stays, and what it asked for is more than socket buffers hold: only the server can end
  // this.
  CHECK(eventually([&] { return contains(f.metrics.text(), "baton_http_connections 0"); }));
  CHECK(f.idle());

  f.service.allow_tokens(3);
  for (const bool politely : {true, false}) {
    const int before = f.service.cancelled();
    TlsClient leaving(f.port);
    leaving.request("POST /v1/completions", "", R"({"prompt":"x","max_tokens":1000,"stream":true})");
    if (politely) {
      leaving.close_notify();
    } else {
      leaving.close();
    }
    CHECK(eventually([&] { return f.service.cancelled() > before; }));
  }
}

TEST_CASE("TLS: stopping ends handshakes, idle connections and streams") {
  Certificate certificate;
  Fixture f(certificate.options());
  FakeService::Behaviour deaf;
  deaf.deaf = true;
  f.service.configure(deaf);
  RawClient stalled(f.port);
  stalled.send("\x16");
  TlsClient idle(f.port), waiting(f.port);
  waiting.request("POST /v1/completions", "", R"({"prompt":"x"})");
  REQUIRE(eventually([&] { return f.service.live() == 1; }));
  f.server.stop();
  CHECK(contains(waiting.read_to_end(), "shutting down"));
  idle.read_to_end();
  CHECK(stalled.at_end());
}

TEST_CASE("TLS: a new certificate serves new connections; a broken one changes nothing") {
  Certificate certificate;
  Fixture f(certificate.options());
  TlsClient before(f.port);
  REQUIRE(before.peer_name() == "first");
  const Pem second = self_signed("second");
  certificate.folder.write("cert", second.certificate);  // the old key does not fit it: half a change
  f.server.reload(false);
  CHECK(TlsClient(f.port).peer_name() == "first");
  certificate.folder.write("key", second.key);
  f.server.reload(false);
  CHECK(TlsClient(f.port).peer_name() == "second");
  before.request("GET /v1/models", "Connection: close\r\n");
  CHECK(contains(before.read_to_end(), "200 OK"));
  certificate.folder.write("cert", "-----BEGIN CERTIFICATE-----\nnot one\n");
  f.server.reload(true);
  CHECK(TlsClient(f.port).peer_name() == "second");
  certificate.write(self_signed("late", 1800));  // over since half an hour: loads, with a warning
  f.server.reload(false);
  CHECK(TlsClient(f.port).peer_name() == "late");
}

TEST_CASE("TLS: a server does not start with files that it cannot use") {
  Certificate certificate;
  FrontendOptions options = certificate.options();
  certificate.folder.write("key", self_signed("other").key);
  CHECK(start_error(options).field == "--tls-key");
  certificate.folder.write("key", "nonsense");
  CHECK(start_error(options).field == "--tls-key");
  options.tls_certificate = certificate.folder.path("missing");
  CHECK(start_error(options).field == "--tls-cert");
  CHECK(contains(start_error(options).message, "missing"));
  // An encrypted key must not make the daemon ask for a passphrase.
  certificate.folder.write("key",
                           "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBSMDEG\n"
                           "-----END ENCRYPTED PRIVATE KEY-----\n");
  CHECK(start_error(certificate.options()).field == "--tls-key");
}

TEST_CASE("TLS: beyond the connection limit clients are told so, in TLS") {
  Certificate certificate;
  FrontendOptions small = certificate.options();
  small.max_connections = 1;
  Fixture f(small);
  TlsClient first(f.port);
  first.request("GET /health");
  REQUIRE(contains(first.read_until("ok"), "200"));
  TlsClient second(f.port);
  CHECK(contains(second.read_to_end(), "HTTP/1.1 503 "));
  CHECK(second.ended_properly());
}
