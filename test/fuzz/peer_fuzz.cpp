// Everything that peers parse: messages, introductions, the handshake before and after the proof, and frames.
//
// The first byte picks the parser, the rest is its input. Two modes prove the secret and seal the frames,
// which a fuzzer cannot do by chance, so that what an authenticated but broken peer may send is covered too.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "baton/peer/messages.hpp"
#include "peer/handshake.hpp"

using namespace baton;
using namespace baton::peer;

namespace {

using Bytes = std::vector<std::byte>;

void require(bool holds) {
  if (!holds) std::abort();
}

Nonce nonce(std::uint8_t n) {
  Nonce out{};
  out.fill(static_cast<std::byte>(n));
  return out;
}

HandshakeIdentity identity(std::uint64_t instance) {
  HandshakeIdentity id;
  id.secret = "secret";
  id.self.node.name = "node-" + std::to_string(instance);
  id.self.instance = {instance, 0};
  return id;
}

// What decodes must encode, and to something that decodes to the same.
void message(std::span<const std::byte> input) {
  const TimePoint now{std::chrono::hours(100'000)};
  const auto decoded = decode_message(input, now);
  if (!decoded) return require(!decoded.error().message.empty());
  const Bytes once = encode_message(*decoded, now);
  const auto again = decode_message(once, now);
  require(again.has_value());
  require(encode_message(*again, now) == once);
}

void introduction(std::span<const std::byte> input) {
  const auto decoded = decode_introduction(input);
  if (decoded) require(decode_introduction(encode_introduction(*decoded)).has_value());
  (void)decode_refusal(input);
}

// In pieces, as a socket would deliver it: a piece's size is in its first byte.
void raw_handshake(Handshake::Side side, std::span<const std::byte> input) {
  const HandshakeIdentity self = identity(1);
  Handshake handshake(side, self, nonce(1));
  Bytes pending;
  while (!input.empty() && !handshake.failure() && !handshake.done()) {
    const std::size_t size = std::min<std::size_t>(static_cast<std::size_t>(input[0]) + 1, input.size());
    pending.insert(pending.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size));
    input = input.subspan(size);
    const std::size_t used = handshake.feed(pending);
    require(used <= pending.size());
    pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(used));
    require(handshake.take_output().size() <=
            200);  // hello, proof and verdict: before the proof nothing more
  }
  require(!handshake.done());  // nobody proves a secret by chance
}

// A peer that knows the secret and introduces itself as the input says.
void proven_handshake(std::span<const std::byte> input) {
  auto introduction = decode_introduction(input);
  if (!introduction) return;
  const HandshakeIdentity us = identity(1);
  HandshakeIdentity them = identity(2);
  them.self = *std::move(introduction);
  Handshake listener(Handshake::Side::listener, us, nonce(1));
  Handshake dialer(Handshake::Side::dialer, them, nonce(2));
  for (int pass = 0; pass < 3; ++pass) {
    listener.feed(dialer.take_output());
    dialer.feed(listener.take_output());
  }
  const bool fits = !find_mismatch(us.self, them.self);
  require(listener.knows_peer() && listener.done() == fits);
}

void frames(std::span<const std::byte> input, bool sealed) {
  const Key key{};
  FrameOpener opener(key, 1 << 16);
  Bytes stream;
  if (sealed) {
    FrameSealer sealer(key);
    sealer.seal(static_cast<FrameKind>(input.empty() ? 0 : static_cast<int>(input[0])), input, stream);
    stream.insert(stream.end(), input.begin(), input.end());
  } else {
    stream.assign(input.begin(), input.end());
  }
  std::span<const std::byte> rest(stream);
  for (;;) {
    std::size_t used = 0;
    const auto frame = opener.open(rest, used);
    if (!frame || !frame->has_value()) break;
    require(used >= kFrameOverhead && used <= rest.size());
    rest = rest.subspan(used);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 7) {
    case 0:
      message(input);
      break;
    case 1:
      introduction(input);
      break;
    case 2:
      raw_handshake(Handshake::Side::listener, input);
      break;
    case 3:
      raw_handshake(Handshake::Side::dialer, input);
      break;
    case 4:
      proven_handshake(input);
      break;
    case 5:
      frames(input, false);
      break;
    default:
      frames(input, true);
      break;
  }
  return 0;
}
