#include "peer/handshake.hpp"

#include <algorithm>
#include <array>

#include "peer/big_endian.hpp"
#include "peer/record.hpp"

namespace baton {
namespace {
constexpr std::size_t kMaxAdapters = 65536;
}

void describe(auto& c, peer::Like<NodeInfo> auto& v) {
  using namespace peer;
  c.record(field("name", v.name), field("http_address", v.http_address),
           Enumerated{"role", v.role, Role::decode}, field("model_name", v.model_name),
           field("model_fingerprint", v.model_fingerprint), field("kv_layout", v.kv_layout),
           field("numerics", v.numerics), field("version", v.version),
           Limited{"transport_address", v.transport_address, kMaxIntroductionBytes},
           field("transport", v.transport), field("max_context", v.max_context),
           Limited{"adapters", v.adapters, kMaxAdapters});
}

}  // namespace baton

namespace baton::peer {
namespace {

// The line ends catch transports that rewrite text; the zero ends it for C.
constexpr std::string_view kMagic{"BATON\r\n\0", 8};
constexpr std::size_t kHelloBytes = kMagic.size() + sizeof(std::uint32_t) + sizeof(Nonce);
constexpr std::size_t kMaxNameBytes = 255;

enum Verdict : std::uint8_t { kProven = 0, kSecretDiffers = 1 };

std::string quoted(const std::string& text) { return '\'' + text + '\''; }

}  // namespace

void describe(auto& c, Like<Introduction> auto& v) {
  c.record(field("node", v.node), field("instance", v.instance));
}
void describe(auto& c, Like<Refusal> auto& v) {
  c.record(Enumerated{"fault", v.fault, HandshakeFault::crowded}, field("error", v.error));
}

namespace {

template <class T>
std::vector<std::byte> encode(const char* name, const T& value) {
  std::vector<std::byte> out;
  Encoder encoder(out, TimePoint{});
  encoder.named(field(name, value));
  return out;
}

template <class T>
Result<T> decode(const char* name, std::span<const std::byte> bytes) {
  Decoder decoder(bytes, TimePoint{});
  T value;
  decoder.named(field(name, value));
  if (decoder.failed()) return decoder.take_error();
  if (decoder.reader().remaining() > 0) {
    return make_error(ErrorCode::corrupt, std::string(name) + ": bytes after its end", name);
  }
  return value;
}

}  // namespace

std::string_view to_string(HandshakeFault fault) {
  constexpr std::array<std::string_view, 11> names = {"garbage",  "protocol", "secret", "tampered",
                                                      "mismatch", "name",     "self",   "duplicate",
                                                      "timeout",  "closed",   "crowded"};
  return names[static_cast<std::size_t>(fault)];
}

std::vector<std::byte> encode_introduction(const Introduction& introduction) {
  return encode("introduction", introduction);
}
Result<Introduction> decode_introduction(std::span<const std::byte> bytes) {
  return decode<Introduction>("introduction", bytes);
}
std::vector<std::byte> encode_refusal(const Refusal& refusal) { return encode("refusal", refusal); }
Result<Refusal> decode_refusal(std::span<const std::byte> bytes) { return decode<Refusal>("refusal", bytes); }

std::optional<HandshakeFailure> find_mismatch(const Introduction& ours, const Introduction& theirs) {
  if (ours.instance == theirs.instance) {
    return HandshakeFailure{HandshakeFault::self,
                            make_error(ErrorCode::invalid_argument, "this node itself", "name")};
  }
  const NodeInfo& a = ours.node;
  const NodeInfo& b = theirs.node;
  if (a.name == b.name) {
    return HandshakeFailure{
        HandshakeFault::name,
        make_error(ErrorCode::invalid_argument,
                   "name: two nodes are called " + quoted(a.name) + "; names must differ", "name")};
  }
  if (b.name.empty() || b.name.size() > kMaxNameBytes) {
    return HandshakeFailure{HandshakeFault::name, make_error(ErrorCode::invalid_argument,
                                                             "name: must have 1 to 255 bytes", "name")};
  }
  const auto differs = [](const char* name, const std::string& mine, const std::string& yours) {
    return HandshakeFailure{
        HandshakeFault::mismatch,
        make_error(ErrorCode::invalid_argument,
                   std::string(name) + " differs: ours " + quoted(mine) + ", theirs " + quoted(yours), name)};
  };
  if (a.model_name != b.model_name) return differs("model_name", a.model_name, b.model_name);
  if (a.model_fingerprint != b.model_fingerprint) {
    return differs("model_fingerprint", to_hex(a.model_fingerprint), to_hex(b.model_fingerprint));
  }
  if (a.kv_layout != b.kv_layout) return differs("kv_layout", a.kv_layout, b.kv_layout);
  if (a.transport != b.transport) return differs("transport", a.transport, b.transport);
  return std::nullopt;
}

Handshake::Handshake(Side side, const HandshakeIdentity& identity, const Nonce& nonce)
    : side_(side), identity_(identity) {
  const auto magic = std::as_bytes(std::span(kMagic));
  hello_.assign(magic.begin(), magic.end());
  put_big_endian(identity.protocol, hello_);
  hello_.insert(hello_.end(), nonce.begin(), nonce.end());
  if (side == Side::dialer) output_ = hello_;
}

std::vector<std::byte> Handshake::take_output() { return std::exchange(output_, {}); }

std::size_t Handshake::feed(std::span<const std::byte> input) {
  std::size_t used = 0;
  while (state_ != State::done && state_ != State::failed) {
    const auto rest = input.subspan(used);
    const std::size_t step = state_ == State::hello   ? feed_hello(rest)
                             : state_ == State::proof ? feed_proof(rest)
                                                      : feed_introduction(rest);
    used += step;
    if (step == 0) break;
  }
  return used;
}

std::size_t Handshake::feed_hello(std::span<const std::byte> input) {
  const auto magic = std::as_bytes(std::span(kMagic));
  const std::size_t seen = std::min(input.size(), magic.size());
  if (!std::equal(magic.begin(), magic.begin() + static_cast<std::ptrdiff_t>(seen), input.begin())) {
    fail(HandshakeFault::garbage, ErrorCode::corrupt, "what answered does not speak Baton's peer protocol");
    return 0;
  }
  if (input.size() < kHelloBytes) return 0;
  const auto hello = input.first(kHelloBytes);
  if (side_ == Side::listener) output_ = hello_;  // even to another version, so that it can say so
  const auto protocol = get_big_endian<std::uint32_t>(hello.subspan(magic.size()));
  if (protocol != identity_.protocol) {
    fail(HandshakeFault::protocol, ErrorCode::unsupported,
         "protocol differs: ours " + std::to_string(identity_.protocol) + ", theirs " +
             std::to_string(protocol),
         "protocol");
  } else if (std::ranges::equal(hello, hello_)) {
    fail(HandshakeFault::garbage, ErrorCode::corrupt, "our own hello came back");
  } else {
    derive_keys(hello);
    if (side_ == Side::dialer) output_.insert(output_.end(), our_proof_.begin(), our_proof_.end());
    state_ = State::proof;
  }
  return kHelloBytes;
}

void Handshake::derive_keys(std::span<const std::byte> their_hello) {
  const bool dialer = side_ == Side::dialer;
  const std::span<const std::byte> first = dialer ? std::span<const std::byte>(hello_) : their_hello;
  const std::span<const std::byte> second = dialer ? their_hello : std::span<const std::byte>(hello_);
  std::vector<std::byte> transcript(first.begin(), first.end());
  transcript.insert(transcript.end(), second.begin(), second.end());

  // The nonces are in the transcript, so it serves as the salt, too.
  const Key root = hkdf_extract(transcript, identity_.secret);
  const Key dialer_proof = hkdf_expand(root, "baton peer dialer proof", transcript);
  const Key listener_proof = hkdf_expand(root, "baton peer listener proof", transcript);
  const Key dialer_frames = hkdf_expand(root, "baton peer dialer frames", transcript);
  const Key listener_frames = hkdf_expand(root, "baton peer listener frames", transcript);
  our_proof_ = dialer ? dialer_proof : listener_proof;
  their_proof_ = dialer ? listener_proof : dialer_proof;
  sealer_.emplace(dialer ? dialer_frames : listener_frames);
  opener_.emplace(dialer ? listener_frames : dialer_frames, kMaxIntroductionBytes);
}

std::size_t Handshake::feed_proof(std::span<const std::byte> input) {
  const std::size_t verdict = side_ == Side::dialer ? 1 : 0;  // only the listener's proof has one before it
  const std::size_t size = verdict + sizeof(Key);
  if (input.size() < size) return 0;
  const bool refused = verdict > 0 && input[0] != static_cast<std::byte>(kProven);
  if (refused || !equal_constant_time(input.subspan(verdict, sizeof(Key)), their_proof_)) {
    if (side_ == Side::listener) {
      output_.assign(1 + sizeof(Key), std::byte{0});
      output_[0] = static_cast<std::byte>(kSecretDiffers);
    }
    fail(HandshakeFault::secret, ErrorCode::unauthenticated, "cluster secret differs", "cluster_secret");
    return size;
  }
  if (side_ == Side::listener) {
    output_.push_back(static_cast<std::byte>(kProven));
    output_.insert(output_.end(), our_proof_.begin(), our_proof_.end());
  }
  introduce();
  state_ = State::introduction;
  return size;
}

void Handshake::introduce() {
  sealer_->seal(FrameKind::introduce, encode_introduction(identity_.self), output_);
}

std::size_t Handshake::feed_introduction(std::span<const std::byte> input) {
  std::size_t used = 0;
  auto frame = opener_->open(input, used);
  if (!frame) {
    fail(HandshakeFault::tampered, frame.error().code, frame.error().message, frame.error().field);
    return used;
  }
  if (!frame->has_value()) return 0;
  if ((*frame)->kind != FrameKind::introduce) {
    fail(HandshakeFault::garbage, ErrorCode::corrupt, "the first frame is no introduction", "kind");
    return used;
  }
  auto introduction = decode_introduction((*frame)->payload);
  if (!introduction) {
    fail(HandshakeFault::garbage, ErrorCode::corrupt, introduction.error().message,
         introduction.error().field);
    return used;
  }
  peer_ = *std::move(introduction);
  knows_peer_ = true;
  if (auto mismatch = find_mismatch(identity_.self, peer_)) {
    sealer_->seal(FrameKind::refuse, encode_refusal({mismatch->fault, mismatch->error}), output_);
    failure_ = std::move(mismatch);
    state_ = State::failed;
  } else {
    state_ = State::done;
  }
  return used;
}

void Handshake::fail(HandshakeFault fault, ErrorCode code, std::string message, std::string field) {
  failure_ = HandshakeFailure{fault, make_error(code, std::move(message), std::move(field))};
  state_ = State::failed;
}

}  // namespace baton::peer
