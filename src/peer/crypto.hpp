// HMAC-SHA256, HKDF and randomness for the peer protocol, over OpenSSL's libcrypto. Nothing else in Baton
// authenticates; hashes for identity (base/hash) are not cryptographic.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace baton::peer {

using Key = std::array<std::byte, 32>;    // also an untruncated HMAC-SHA256
using Nonce = std::array<std::byte, 32>;  // never drawn twice
using Tag = std::array<std::byte, 16>;    // an HMAC-SHA256 truncated to 128 bits (RFC 2104, section 5)

// False where the system has no randomness to give; the caller must then not go on.
bool fill_random(std::span<std::byte> bytes);
// Takes the same time wherever the difference lies.
bool equal_constant_time(std::span<const std::byte> a, std::span<const std::byte> b);

Key hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> data);
// RFC 5869. The secret may be empty. expand gives one block, enough for a key.
Key hkdf_extract(std::span<const std::byte> salt, std::string_view secret);
Key hkdf_expand(const Key& pseudorandom, std::string_view label, std::span<const std::byte> context);

// A keyed HMAC for many messages: keeps the key schedule. Not thread-safe.
class FrameMac {
 public:
  explicit FrameMac(const Key& key);
  ~FrameMac();
  FrameMac(FrameMac&&) noexcept;
  FrameMac& operator=(FrameMac&&) noexcept;

  Tag tag(std::span<const std::byte> data);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton::peer
