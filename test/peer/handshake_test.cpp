// The pure parts: HKDF against RFC 5869, frames, and the handshake as two state machines without a socket.
#include "peer/handshake.hpp"

#include "baton/peer/address.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::peer;

namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(std::string_view hex) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

HandshakeIdentity identity(const std::string& name, std::uint64_t instance) {
  HandshakeIdentity id;
  id.secret = "shared";
  id.self.node.name = name;
  id.self.node.model_name = "demo";
  id.self.node.kv_layout = "layout";
  id.self.node.transport = "ucx";
  id.self.instance = {instance, instance};
  return id;
}

Nonce nonce(int n) {
  Nonce out{};
  out.fill(static_cast<std::byte>(n));
  return out;
}

struct Pair {
  HandshakeIdentity left = identity("left", 1);
  HandshakeIdentity right = identity("right", 2);
  std::size_t chunk = 1000;  // bytes that travel at a time

  // Both sides, until neither has anything to say.
  std::pair<Handshake, Handshake> run() {
    Handshake dialer(Handshake::Side::dialer, left, nonce(1));
    Handshake listener(Handshake::Side::listener, right, nonce(2));
    Bytes to_right, to_left;
    for (bool moving = true; moving;) {
      moving = pass(dialer, to_right, listener) | pass(listener, to_left, dialer);
    }
    return {std::move(dialer), std::move(listener)};
  }

 private:
  bool pass(Handshake& from, Bytes& pipe, Handshake& to) {
    const Bytes said = from.take_output();
    pipe.insert(pipe.end(), said.begin(), said.end());
    Bytes held;
    std::size_t used = 0;
    for (std::size_t end = std::min(chunk, pipe.size()); end <= pipe.size();) {
      used += to.feed(std::span(pipe).first(end).subspan(used));
      if (end == pipe.size()) break;
      end = std::min(end + chunk, pipe.size());
    }
    pipe.erase(pipe.begin(), pipe.begin() + static_cast<std::ptrdiff_t>(used));
    return !said.empty();
  }
};

}  // namespace

TEST_CASE("HKDF-SHA256 as in RFC 5869, appendix A.1 and A.3") {
  const Bytes ikm(22, std::byte{0x0b});
  const std::string_view secret(reinterpret_cast<const char*>(ikm.data()), ikm.size());
  const Bytes salt = from_hex("000102030405060708090a0b0c");
  const Key root = hkdf_extract(salt, secret);
  CHECK(
      std::ranges::equal(root, from_hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")));
  CHECK(std::ranges::equal(hkdf_expand(root, "", from_hex("f0f1f2f3f4f5f6f7f8f9")),
                           from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")));
  const Key unsalted = hkdf_extract({}, secret);
  CHECK(std::ranges::equal(unsalted,
                           from_hex("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04")));
  CHECK(std::ranges::equal(hkdf_expand(unsalted, "", {}),
                           from_hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")));
}

TEST_CASE("a frame's tag is a truncated HMAC, and the keyed state can be used again") {
  Key key{};
  key.fill(std::byte{9});
  FrameMac mac(key);
  for (const std::size_t size : {0, 1, 63, 64, 1000, 0}) {
    const Bytes data(size, std::byte{5});
    const Key full = hmac_sha256(key, data);
    CHECK(equal_constant_time(mac.tag(data), std::span(full).first(sizeof(Tag))));
  }
}

TEST_CASE("frames open in order and wait for their rest") {
  Key key{};
  FrameSealer sealer(key);
  FrameOpener opener(key, 1000);
  Bytes stream;
  sealer.seal(FrameKind::message, from_hex("010203"), stream);
  const std::size_t first = stream.size();
  CHECK(first == 3 + kFrameOverhead);
  sealer.seal(FrameKind::goodbye, {}, stream);
  std::size_t used = 0;
  for (std::size_t size = 0; size < first; ++size) {
    const auto nothing = opener.open(std::span(stream).first(size), used);
    REQUIRE(nothing);
    CHECK_FALSE(nothing->has_value());
    CHECK(used == 0);
  }
  auto frame = opener.open(stream, used);
  REQUIRE((frame && *frame));
  CHECK(used == first);
  CHECK((*frame)->kind == FrameKind::message);
  CHECK(std::ranges::equal((*frame)->payload, from_hex("010203")));
  frame = opener.open(std::span(stream).subspan(first), used);
  REQUIRE((frame && *frame));
  CHECK((*frame)->kind == FrameKind::goodbye);
  CHECK((*frame)->payload.empty());
}

TEST_CASE("the two sides of a handshake agree, however the bytes are cut") {
  Pair pair;
  pair.chunk = GENERATE(1, 7, 1000);
  auto [dialer, listener] = pair.run();
  REQUIRE(dialer.done());
  REQUIRE(listener.done());
  CHECK(dialer.peer().node.name == "right");
  CHECK(listener.peer().node.name == "left");
  CHECK(listener.peer().instance == Hash128{1, 1});

  FrameSealer from_dialer = dialer.take_sealer();
  FrameOpener at_listener = listener.take_opener();
  FrameOpener at_dialer = dialer.take_opener();
  Bytes frame;
  from_dialer.seal(FrameKind::offer, {}, frame);
  std::size_t used = 0;
  CHECK(at_listener.open(frame, used));
  CHECK_FALSE(at_dialer.open(frame, used));  // reflected: another key
}

TEST_CASE("another protocol version is named on both sides") {
  Pair pair;
  pair.right.protocol = kPeerProtocol + 1;
  auto [dialer, listener] = pair.run();
  REQUIRE((dialer.failure() && listener.failure()));
  CHECK(dialer.failure()->fault == HandshakeFault::protocol);
  const std::string left = std::to_string(kPeerProtocol), right = std::to_string(kPeerProtocol + 1);
  CHECK(dialer.failure()->error.message == "protocol differs: ours " + left + ", theirs " + right);
  CHECK(listener.failure()->error.message == "protocol differs: ours " + right + ", theirs " + left);
}

TEST_CASE("another secret: nobody learns who is there") {
  Pair pair;
  pair.right.secret = "Shared";
  auto [dialer, listener] = pair.run();
  REQUIRE((dialer.failure() && listener.failure()));
  CHECK(dialer.failure()->fault == HandshakeFault::secret);
  CHECK(listener.failure()->fault == HandshakeFault::secret);
  CHECK(dialer.failure()->error.message == "cluster secret differs");
  CHECK_FALSE(dialer.knows_peer());
  CHECK_FALSE(listener.knows_peer());
}

TEST_CASE("a listener that claims to be satisfied must still prove itself") {
  const HandshakeIdentity left = identity("left", 1);
  Handshake dialer(Handshake::Side::dialer, left, nonce(1));
  Bytes hello = dialer.take_output();
  CHECK(hello.size() == 44);
  for (std::size_t i = 12; i < hello.size(); ++i) hello[i] = std::byte{3};
  dialer.feed(hello);
  CHECK(dialer.take_output().size() == 32);
  dialer.feed(Bytes(33, std::byte{0}));
  REQUIRE(dialer.failure());
  CHECK(dialer.failure()->fault == HandshakeFault::secret);
  CHECK(dialer.take_output().empty());
}

TEST_CASE("an echo is not a peer") {
  const HandshakeIdentity left = identity("left", 1);
  Handshake dialer(Handshake::Side::dialer, left, nonce(1));
  dialer.feed(dialer.take_output());
  REQUIRE(dialer.failure());
  CHECK(dialer.failure()->error.message == "our own hello came back");
  CHECK(dialer.take_output().empty());
}

TEST_CASE("garbage is noticed at the first wrong byte and answered by nothing") {
  const HandshakeIdentity right = identity("right", 2);
  Handshake listener(Handshake::Side::listener, right, nonce(2));
  listener.feed(from_hex("4247"));
  REQUIRE(listener.failure());
  CHECK(listener.failure()->fault == HandshakeFault::garbage);
  CHECK(listener.take_output().empty());
}

TEST_CASE("a node meets itself") {
  Pair pair;
  pair.right = pair.left;
  auto [dialer, listener] = pair.run();
  REQUIRE((dialer.failure() && listener.failure()));
  CHECK(dialer.failure()->fault == HandshakeFault::self);
  CHECK(listener.failure()->fault == HandshakeFault::self);
}

TEST_CASE("introductions and refusals survive the wire, damaged ones are corrupt") {
  Introduction sent = identity("n", 3).self;
  sent.node.role = Role::decode;
  sent.node.transport_address = from_hex("0001fe");
  const Bytes bytes = encode_introduction(sent);
  const auto got = decode_introduction(bytes);
  REQUIRE(got);
  CHECK(got->node.role == Role::decode);
  CHECK(got->node.transport_address == sent.node.transport_address);
  CHECK(got->instance == sent.instance);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(decode_introduction(std::span(bytes).first(size)));
  }
  const auto refusal = decode_refusal(
      encode_refusal({HandshakeFault::name, make_error(ErrorCode::invalid_argument, "twice", "name")}));
  REQUIRE(refusal);
  CHECK(refusal->fault == HandshakeFault::name);
  CHECK(refusal->error.message == "twice");
  CHECK(refusal->error.field == "name");
}

TEST_CASE("addresses as people write them") {
  CHECK(parse_host_port("node-1:7000")->host == "node-1");
  CHECK(parse_host_port("node-1:7000")->port == 7000);
  CHECK(parse_host_port("[::1]:1")->host == "::1");
  CHECK(to_string(*parse_host_port("[::1]:1")) == "[::1]:1");
  CHECK(to_string(*parse_host_port("a:65535")) == "a:65535");
  for (const char* bad : {"", "a", ":1", "a:", "a:x", "a:65536", "a:-1", "a:1 ", "::1:7000", "[::1]",
                          "[::1]7", "[]:1", "[::1:7", "http://a:1", "a b:1"}) {
    INFO(bad);
    const auto result = parse_host_port(bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::invalid_argument);
  }
}
