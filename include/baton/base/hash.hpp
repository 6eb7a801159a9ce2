// 128-bit hashes (XXH3): block identities, digests, fingerprints. Not cryptographic; authentication uses
// OpenSSL (peer/).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace baton {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Hash128&) const = default;
};

// XXH3-128 of bytes. `key` chains: equal bytes under different keys give unrelated hashes.
Hash128 hash_bytes(std::span<const std::byte> bytes, Hash128 key = {});
Hash128 hash_string(std::string_view text, Hash128 key = {});

// 32 lower-case hex digits, high word first.
std::string to_hex(Hash128 hash);
std::optional<Hash128> hash_from_hex(std::string_view hex);

struct Hash128Hasher {
  std::size_t operator()(const Hash128& h) const {
    return static_cast<std::size_t>(h.low ^ (h.high * 0x9e3779b97f4a7c15ULL));
  }
};

}  // namespace baton

template <>
struct std::hash<baton::Hash128> : baton::Hash128Hasher {};
