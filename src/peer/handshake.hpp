// The handshake as a state machine over bytes: no socket, no clock, no randomness of its own, so that it can
// be tested and fuzzed alone.
//
//   dialer                                   listener
//   hello: magic, protocol, nonce  ------->
//                                  <-------  hello: magic, protocol, nonce
//   proof                          ------->
//                                  <-------  verdict, proof; frame introduce
//   frame introduce                ------->
//
// Both proofs and both frame keys are HKDF outputs from the secret, salted with both nonces and bound to both
// hellos; each has its own label, so none can be reflected. Before the proof a peer sees fixed-size records
// only: 44 and 32 bytes, and nothing about this node. What follows (offer, accept, refuse) decides which of
// two connections between the same nodes is used and lies with PeerMesh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/mesh.hpp"
#include "peer/crypto.hpp"
#include "peer/frame.hpp"

namespace baton::peer {

inline constexpr std::size_t kMaxIntroductionBytes = 64 << 10;  // of its frame

struct Introduction {
  NodeInfo node;
  Hash128 instance;  // drawn at start: tells a restarted node from itself, and a node from its own echo
};

// Why a connection did not come to be used; the names are the metric's label values.
enum class HandshakeFault : std::uint8_t {
  garbage,    // not our protocol at all
  protocol,   // another version of it
  secret,     // another cluster secret
  tampered,   // altered, repeated or oversized frames
  mismatch,   // a field of NodeInfo that must be equal is not
  name,       // both nodes have the same name
  self,       // it is this very node
  duplicate,  // the two are connected already
  timeout,    // not done within handshake_timeout
  closed,     // the other side hung up
  crowded,    // too many unproven connections at once
};
std::string_view to_string(HandshakeFault fault);

struct HandshakeFailure {
  HandshakeFault fault = HandshakeFault::garbage;
  Error error;
};

// Payload of a refuse frame.
struct Refusal {
  HandshakeFault fault = HandshakeFault::mismatch;
  Error error;
};
std::vector<std::byte> encode_introduction(const Introduction& introduction);
Result<Introduction> decode_introduction(std::span<const std::byte> bytes);
std::vector<std::byte> encode_refusal(const Refusal& refusal);
Result<Refusal> decode_refusal(std::span<const std::byte> bytes);

// The first field in which the two may not work together, with both values.
std::optional<HandshakeFailure> find_mismatch(const Introduction& ours, const Introduction& theirs);

struct HandshakeIdentity {
  std::string secret;
  Introduction self;
  std::uint32_t protocol = kPeerProtocol;
};

class Handshake {
 public:
  enum class Side : std::uint8_t { dialer, listener };

  // `identity` outlives the handshake.
  Handshake(Side side, const HandshakeIdentity& identity, const Nonce& nonce);

  // Takes what it can from the front of `input` and returns how many bytes that was. Call again with more
  // (and send take_output()) until done() or failure().
  std::size_t feed(std::span<const std::byte> input);
  // What is to be sent now; also after a failure (it tells the other side why).
  std::vector<std::byte> take_output();

  bool done() const { return state_ == State::done; }
  const std::optional<HandshakeFailure>& failure() const { return failure_; }
  const Introduction& peer() const { return peer_; }  // once it has introduced itself: done or a mismatch
  bool knows_peer() const { return knows_peer_; }

  // The keyed stream, after done().
  FrameSealer take_sealer() { return std::move(*sealer_); }
  FrameOpener take_opener() { return std::move(*opener_); }

 private:
  enum class State : std::uint8_t { hello, proof, introduction, done, failed };

  std::size_t feed_hello(std::span<const std::byte> input);
  std::size_t feed_proof(std::span<const std::byte> input);
  std::size_t feed_introduction(std::span<const std::byte> input);
  void derive_keys(std::span<const std::byte> their_hello);
  void introduce();
  void fail(HandshakeFault fault, ErrorCode code, std::string message, std::string field = {});

  const Side side_;
  const HandshakeIdentity& identity_;
  State state_ = State::hello;
  std::vector<std::byte> hello_;  // ours, as sent
  std::vector<std::byte> output_;
  Key our_proof_{};
  Key their_proof_{};
  std::optional<FrameSealer> sealer_;
  std::optional<FrameOpener> opener_;
  Introduction peer_;
  bool knows_peer_ = false;
  std::optional<HandshakeFailure> failure_;
};

}  // namespace baton::peer
