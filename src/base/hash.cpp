#define XXH_INLINE_ALL
#include "baton/base/hash.hpp"

#include <xxhash.h>

#include <cstdio>

namespace baton {

Hash128 hash_bytes(std::span<const std::byte> bytes, Hash128 key) {
  if (key == Hash128{}) {
    const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
    return {h.high64, h.low64};
  }
  // Only 64 bits of key fit XXH3's seed: the rest is mixed into the result through a second, tiny hash.
  const XXH128_hash_t body = XXH3_128bits_withSeed(bytes.data(), bytes.size(), key.low);
  const std::uint64_t mix[4] = {body.high64, body.low64, key.high, key.low};
  const XXH128_hash_t h = XXH3_128bits(mix, sizeof mix);
  return {h.high64, h.low64};
}

Hash128 hash_string(std::string_view text, Hash128 key) {
  return hash_bytes(std::as_bytes(std::span(text.data(), text.size())), key);
}

std::string to_hex(Hash128 hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

std::optional<Hash128> hash_from_hex(std::string_view hex) {
  if (hex.size() != 32) return std::nullopt;
  std::uint64_t words[2] = {0, 0};
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = hex[i];
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) return std::nullopt;
    words[i / 16] = words[i / 16] << 4 | static_cast<std::uint64_t>(digit);
  }
  return Hash128{words[0], words[1]};
}

}  // namespace baton
