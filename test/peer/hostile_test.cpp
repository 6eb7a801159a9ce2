// What must not get in, and what must not do harm: other secrets, other models, garbage, damaged and repeated
// frames, floods, and peers that do not read.
#include <limits>

#include "peer/mesh_fixture.hpp"

using namespace baton;
using namespace baton::test;
using peer::FrameKind;

namespace {

const CancelMessage kCancel{{{5, 6}, 1}, 2};

Bytes encoded(const Message& message) { return encode_message(message, TimePoint{}); }

// Two nodes that must refuse each other: both say so with both values, neither comes up.
void check_refused(const std::function<void(NodeInfo&)>& change, const std::string& ours,
                   const std::string& theirs, const std::string& reason) {
  Node a("a");
  a.start();
  Node b("b", {a.address()});
  change(b.info);
  b.start();
  INFO(reason << " " << ours << " " << theirs);
  CHECK(Node::eventually([&] { return a.logger.has("ours '" + ours + "', theirs '" + theirs + "'"); }));
  CHECK(Node::eventually([&] { return b.logger.has("ours '" + theirs + "', theirs '" + ours + "'"); }));
  CHECK(a.logger.has(reason + " differs"));
  CHECK(b.mesh->links()[0].problem.starts_with(reason + " differs"));
  CHECK(a.failures("mismatch") >= 1);
  CHECK(b.failures("mismatch") >= 1);
  CHECK(a.events.events().empty());
  CHECK(b.events.events().empty());
  CHECK_FALSE(a.mesh->send("b", kCancel));
}

}  // namespace

TEST_CASE("what must be equal and is not, is refused by name on both sides") {
  check_refused([](NodeInfo& i) { i.model_name = "other"; }, "demo", "other", "model_name");
  check_refused([](NodeInfo& i) { i.model_fingerprint.low = 3; }, "00000000000000010000000000000002",
                "00000000000000010000000000000003", "model_fingerprint");
  check_refused([](NodeInfo& i) { i.kv_layout = "block-major/f32/32"; }, "block-major/f32/16",
                "block-major/f32/32", "kv_layout");
  check_refused([](NodeInfo& i) { i.transport = "loopback"; }, "ucx", "loopback", "transport");
}

TEST_CASE("two nodes of one name refuse each other; other numerics only warn") {
  Node a("a");
  a.start();
  Node twin("a", {a.address()});
  twin.start();
  CHECK(Node::eventually([&] { return a.logger.has("two nodes are called 'a'"); }));
  CHECK(Node::eventually([&] { return twin.logger.has("two nodes are called 'a'"); }));
  CHECK(a.failures("name") >= 1);
  CHECK(a.events.events().empty());

  Node b("b", {a.address()});
  b.info.numerics = "cuda/sm90";
  b.start();
  CHECK(b.events.event(0) == "up a");
  CHECK(b.logger.has("ours=cuda/sm90  theirs=cpu/avx2"));
}

TEST_CASE("another secret is refused, and said so on both sides") {
  Node a("a");
  a.start();
  Node b("b", {a.address()});
  b.options.secret = GENERATE(std::string("another secret"), std::string());
  b.start();
  CHECK(Node::eventually([&] { return a.logger.has("cluster secret differs"); }));
  CHECK(Node::eventually([&] { return b.logger.has("cluster secret differs"); }));
  CHECK(b.mesh->links()[0].problem == "cluster secret differs");
  CHECK(a.failures("secret") >= 1);
  CHECK(b.failures("secret") >= 1);
  CHECK(a.events.events().empty());
  CHECK(b.events.events().empty());
}

TEST_CASE("no secret on either side still connects (loopback only; the app sees to that)") {
  Node a("a");
  a.options.secret.clear();
  a.start();
  Node b("b", {a.address()});
  b.options.secret.clear();
  b.start();
  CHECK(b.events.event(0) == "up a");
}

TEST_CASE("garbage is answered by nothing, closed and counted") {
  Node a("a");
  a.start();
  for (const std::string text : {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "BATOX", "\x16\x03\x01 a TLS hello"}) {
    const Socket socket = connect_to(a.port);
    REQUIRE(write_all(socket, std::as_bytes(std::span(text))));
    CHECK(read_to_end(socket).empty());
  }
  CHECK(Node::eventually([&] { return a.failures("garbage") == 3; }));
  { const Socket probe = connect_to(a.port); }
  CHECK(Node::eventually([&] { return a.failures("closed") == 1; }));
  CHECK(a.events.events().empty());
}

TEST_CASE("dialing something that is no daemon is explained") {
  const auto [listener, port] = listen_anywhere();
  Node a("a", {"127.0.0.1:" + std::to_string(port)});
  a.start();
  const Socket socket(::accept(listener.fd(), nullptr, nullptr));
  const std::string answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
  REQUIRE(write_all(socket, std::as_bytes(std::span(answer))));
  CHECK(Node::eventually([&] { return a.logger.has("does not speak Baton's peer protocol"); }));
}

TEST_CASE("a hello that never ends runs into the timeout") {
  Node a("a");
  a.options.handshake_timeout = 100ms;
  a.start();
  const Socket socket = connect_to(a.port);
  REQUIRE(write_all(socket, std::as_bytes(std::span("BATON", 5))));
  CHECK(read_to_end(socket).empty());
  CHECK(Node::eventually([&] { return a.failures("timeout") == 1; }));

  RawPeer idle(node_info("idle"));  // proves the secret, then says nothing: no offer
  REQUIRE(idle.shake_hands(a.port));
  CHECK(idle.ended());
  CHECK(Node::eventually([&] { return a.failures("timeout") == 2; }));
}

TEST_CASE("a flood of half-open connections does not lock out a peer") {
  Node a("a");
  a.options.handshake_timeout = 60s;
  a.start();
  std::vector<Socket> flood;
  for (int i = 0; i < 80; ++i) flood.push_back(connect_to(a.port));
  CHECK(Node::eventually([&] { return a.failures("crowded") == 80 - 64; }));
  CHECK(read_to_end(flood.front()).empty());  // the oldest had to go
  Node b("b", {a.address()});
  b.start();
  CHECK(b.events.event(0) == "up a");
}

TEST_CASE("a peer by hand can connect and be heard") {
  Node a("a");
  a.start();
  RawPeer raw(node_info("raw"));
  REQUIRE(raw.connect(a.port));
  REQUIRE(raw.send(FrameKind::message, encoded(kCancel)));
  CHECK(a.events.wait_messages(1));
  CHECK(a.events.event(0) == "up raw");

  // Half a frame, then the end.
  Bytes frame = raw.seal(FrameKind::message, encoded(kCancel));
  frame.resize(frame.size() / 2);
  REQUIRE(raw.send(frame));
  raw.close();
  CHECK(a.events.event(1) == "down raw: closed the connection");
  CHECK(a.events.messages().size() == 1);
}

TEST_CASE("repeated, reordered, damaged, oversized and misplaced frames end the connection") {
  Node a("a");
  a.options.max_frame_bytes = 1 << 20;
  a.start();
  RawPeer raw(node_info("raw"));
  REQUIRE(raw.connect(a.port));
  // Its introduction was frame 0, its offer frame 1.
  const Bytes first = raw.seal(FrameKind::message, encoded(kCancel));
  const Bytes second = raw.seal(FrameKind::message, encoded(kCancel));

  SECTION("repeated") {
    REQUIRE(raw.send(first));
    REQUIRE(raw.send(first));
    CHECK(a.events.event(1) == "down raw: frame 2 came where 3 was due");
    CHECK(a.events.messages().size() == 1);
  }
  SECTION("reordered") {
    REQUIRE(raw.send(second));
    CHECK(a.events.event(1) == "down raw: frame 3 came where 2 was due");
    CHECK(a.events.messages().empty());
  }
  SECTION("each byte matters") {
    Bytes damaged = first;
    const std::size_t at = GENERATE(std::size_t{11}, std::size_t{12}, std::size_t{20}, std::size_t{1000});
    damaged[std::min(at, damaged.size() - 1)] ^= std::byte{1};  // counter, kind, payload, tag
    REQUIRE(raw.send(damaged));
    CHECK(a.events.event(1) == "down raw: a frame was altered on its way (its tag does not fit)");
    CHECK(a.events.messages().empty());
  }
  SECTION("oversized: refused by its length alone") {
    REQUIRE(raw.send(Bytes{std::byte{0x7f}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}}));
    CHECK(a.events.event(1) == "down raw: a frame of 2147483651 bytes, the limit is 1048576");
  }
  SECTION("too short to be one") {
    REQUIRE(raw.send(Bytes(4, std::byte{0})));
    CHECK(a.events.event(1) == "down raw: a frame shorter than its own header");
  }
  SECTION("a well-sealed message that is none") {
    REQUIRE(raw.send(first));
    REQUIRE(raw.send(second));
    REQUIRE(raw.send(FrameKind::message, Bytes{std::byte{0x82}, std::byte{1}, std::byte{0x80}}));
    CHECK(a.events.event(1) == "down raw: cancel: expected an array of 2");
    CHECK(a.events.messages().size() == 2);
  }
  SECTION("a handshake frame in mid-stream") {
    REQUIRE(raw.send(first));
    REQUIRE(raw.send(second));
    REQUIRE(raw.send(FrameKind::offer));
    CHECK(a.events.event(1) == "down raw: a frame of kind 2 where none belongs");
  }
  CHECK(raw.ended());
  CHECK(a.events.events().size() == 2);
}

TEST_CASE("messages before the accept are a violation") {
  Node a("a");
  a.start();
  RawPeer raw(node_info("raw"));
  REQUIRE(raw.shake_hands(a.port));
  REQUIRE(raw.send(FrameKind::message, encoded(kCancel)));
  CHECK(raw.ended());
  CHECK(a.events.events().empty());
  CHECK(a.events.messages().empty());
  CHECK(Node::eventually([&] { return a.failures("garbage") == 1; }));
}

TEST_CASE("a byte flipped on the wire ends the connection, and the nodes find each other again") {
  Node a("a");
  a.start();
  std::atomic<bool> flip{false};
  Relay relay(a.port, [&](Relay::Way way, Bytes& bytes) {
    if (way == Relay::Way::to_target && flip.exchange(false)) bytes[bytes.size() / 2] ^= std::byte{0x10};
  });
  Node b("b", {relay.address()});
  b.start();
  REQUIRE(a.events.event(0) == "up b");
  REQUIRE(b.events.event(0) == "up a");
  flip = true;
  b.mesh->send("a", kCancel);
  CHECK(a.events.event(1).starts_with("down b: "));
  CHECK(b.events.event(1).starts_with("down a: "));
  CHECK(a.events.event(2) == "up b");
  CHECK(b.events.event(2) == "up a");
}

TEST_CASE("a recorded handshake is worthless the second time") {
  Node a("a");
  a.start();
  std::mutex mutex;
  Bytes recorded;
  Relay relay(a.port, [&](Relay::Way way, Bytes& bytes) {
    std::lock_guard lock(mutex);
    if (way == Relay::Way::to_target) recorded.insert(recorded.end(), bytes.begin(), bytes.end());
  });
  Node b("b", {relay.address()});
  b.start();
  REQUIRE(a.events.event(0) == "up b");
  b.mesh->stop();
  REQUIRE(a.events.event(1).starts_with("down b"));
  const Socket replay = connect_to(a.port);
  {
    std::lock_guard lock(mutex);
    write_all(replay, recorded);
  }
  read_to_end(replay);
  CHECK(Node::eventually([&] { return a.failures("secret") == 1; }));
  CHECK(a.events.events().size() == 2);
}

TEST_CASE("a peer that does not read is dropped as too slow") {
  Node a("a");
  a.options.max_queued_bytes = 1 << 20;
  a.options.silence = 60s;
  a.start();
  RawPeer raw(node_info("raw"));
  REQUIRE(raw.connect(a.port));
  REQUIRE(a.events.event(0) == "up raw");
  ReserveMessage big;
  big.tokens.assign(20'000, 1'000'000);
  REQUIRE(Node::eventually([&] { return !a.mesh->send("raw", big); }));
  CHECK(a.events.event(1) == "down raw: too slow: more than 1048576 bytes were waiting for it");
  CHECK_FALSE(a.mesh->send("raw", big));
}
