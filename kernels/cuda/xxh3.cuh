// XXH3's constants and its algorithms for short input, seed 0 (github.com/Cyan4973/xxHash,
// doc/xxhash_spec.md), for the device; names follow the specification where it has any.
#pragma once

#include <cstdint>

namespace baton::cuda::xxh3 {

inline constexpr std::uint32_t kPrime32_1 = 0x9E3779B1U, kPrime32_2 = 0x85EBCA77U, kPrime32_3 = 0xC2B2AE3DU;
inline constexpr std::uint64_t kPrime64_1 = 0x9E3779B185EBCA87ULL, kPrime64_2 = 0xC2B2AE3D27D4EB4FULL,
                               kPrime64_3 = 0x165667B19E3779F9ULL, kPrime64_4 = 0x85EBCA77C2B2AE63ULL,
                               kPrime64_5 = 0x27D4EB2F165667C5ULL;
inline constexpr unsigned kSecretBytes = 192;
inline constexpr std::uint64_t kMaxShort = 240;

// The default secret as little-endian words.
__constant__ const std::uint64_t kSecret[kSecretBytes / 8] = {
    0xbe4ba423396cfeb8ULL, 0x1cad21f72c81017cULL, 0xdb979083e96dd4deULL, 0x1f67b3b7a4a44072ULL,
    0x78e5c0cc4ee679cbULL, 0x2172ffcc7dd05a82ULL, 0x8e2443f7744608b8ULL, 0x4c263a81e69035e0ULL,
    0xcb00c391bb52283cULL, 0xa32e531b8b65d088ULL, 0x4ef90da297486471ULL, 0xd8acdea946ef1938ULL,
    0x3f349ce33f76faa8ULL, 0x1d4f0bc7c7bbdcf9ULL, 0x3159b4cd4be0518aULL, 0x647378d9c97e9fc8ULL,
    0xc3ebd33483acc5eaULL, 0xeb6313faffa081c5ULL, 0x49daf0b751dd0d17ULL, 0x9e68d429265516d3ULL,
    0xfca1477d58be162bULL, 0xce31d07ad1b8f88fULL, 0x280416958f3acb45ULL, 0x7e404bbbcafbd7afULL,
};

__device__ __forceinline__ std::uint64_t secret64(unsigned offset) {
  const unsigned word = offset / 8, shift = offset % 8 * 8;
  return shift == 0 ? kSecret[word] : kSecret[word] >> shift | kSecret[word + 1] << (64 - shift);
}
__device__ __forceinline__ std::uint64_t secret32(unsigned offset) { return secret64(offset) & 0xffffffffU; }

__device__ __forceinline__ std::uint64_t initial_accumulator(unsigned i) {
  constexpr std::uint64_t kInitial[8] = {kPrime32_3, kPrime64_1, kPrime64_2, kPrime64_3,
                                         kPrime64_4, kPrime32_2, kPrime64_5, kPrime32_1};
  std::uint64_t value = kInitial[0];
#pragma unroll
  for (unsigned k = 1; k < 8; ++k) value = i == k ? kInitial[k] : value;
  return value;
}

__device__ __forceinline__ std::uint32_t read32(const std::uint8_t* from) {
  return from[0] | static_cast<std::uint32_t>(from[1]) << 8 | static_cast<std::uint32_t>(from[2]) << 16 |
         static_cast<std::uint32_t>(from[3]) << 24;
}
__device__ __forceinline__ std::uint64_t read64(const std::uint8_t* from) {
  return read32(from) | static_cast<std::uint64_t>(read32(from + 4)) << 32;
}

__device__ __forceinline__ std::uint64_t product_of_halves(std::uint64_t x) {
  return (x & 0xffffffffU) * (x >> 32);
}
__device__ __forceinline__ std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  return a * b ^ __umul64hi(a, b);
}

__device__ __forceinline__ std::uint64_t avalanche(std::uint64_t x) {
  x = (x ^ x >> 37) * 0x165667919E3779F9ULL;
  return x ^ x >> 32;
}
__device__ __forceinline__ std::uint64_t avalanche_xxh64(std::uint64_t x) {
  x = (x ^ x >> 33) * kPrime64_2;
  x = (x ^ x >> 29) * kPrime64_3;
  return x ^ x >> 32;
}
__device__ __forceinline__ std::uint32_t swap32(std::uint32_t x) { return __byte_perm(x, 0, 0x0123); }
__device__ __forceinline__ std::uint64_t swap64(std::uint64_t x) {
  return static_cast<std::uint64_t>(swap32(static_cast<std::uint32_t>(x))) << 32 |
         swap32(static_cast<std::uint32_t>(x >> 32));
}

__device__ __forceinline__ std::uint64_t mix16(const std::uint8_t* from, unsigned secret) {
  return fold(read64(from) ^ secret64(secret), read64(from + 8) ^ secret64(secret + 8));
}
__device__ __forceinline__ void mix32(std::uint64_t& high, std::uint64_t& low, const std::uint8_t* a,
                                      const std::uint8_t* b, unsigned secret) {
  low += mix16(a, secret);
  low ^= read64(b) + read64(b + 8);
  high += mix16(b, secret + 16);
  high ^= read64(a) + read64(a + 8);
}
__device__ __forceinline__ void finish_mixed(std::uint64_t& high, std::uint64_t& low, std::uint64_t bytes) {
  const std::uint64_t sum = low + high;
  high = 0 - avalanche(low * kPrime64_1 + high * kPrime64_4 + bytes * kPrime64_2);
  low = avalanche(sum);
}

__device__ inline void hash_up_to_16(const std::uint8_t* data, std::uint32_t bytes, std::uint64_t& high,
                                     std::uint64_t& low) {
  if (bytes > 8) {
    const std::uint64_t flip_low = secret64(32) ^ secret64(40), flip_high = secret64(48) ^ secret64(56);
    const std::uint64_t first = read64(data);
    std::uint64_t last = read64(data + bytes - 8);
    const std::uint64_t keyed = first ^ last ^ flip_low;
    low = keyed * kPrime64_1 + (static_cast<std::uint64_t>(bytes - 1) << 54);
    last ^= flip_high;
    high = __umul64hi(keyed, kPrime64_1) + last + (last & 0xffffffffU) * (kPrime32_2 - 1);
    low ^= swap64(high);
    high = avalanche(__umul64hi(low, kPrime64_2) + high * kPrime64_2);
    low = avalanche(low * kPrime64_2);
  } else if (bytes >= 4) {
    const std::uint64_t input = read32(data) + (static_cast<std::uint64_t>(read32(data + bytes - 4)) << 32);
    const std::uint64_t keyed = input ^ secret64(16) ^ secret64(24);
    const std::uint64_t factor = kPrime64_1 + (bytes << 2);
    low = keyed * factor;
    high = __umul64hi(keyed, factor) + (low << 1);
    low ^= high >> 3;
    low = (low ^ low >> 35) * 0x9FB21C651E98DF25ULL;
    low ^= low >> 28;
    high = avalanche(high);
  } else if (bytes > 0) {
    const std::uint32_t first = data[0], middle = data[bytes >> 1], last = data[bytes - 1];
    const std::uint32_t combined = first << 16 | middle << 24 | last | bytes << 8;
    const std::uint32_t swapped = swap32(combined);
    low = avalanche_xxh64(combined ^ secret32(0) ^ secret32(4));
    high = avalanche_xxh64((swapped << 13 | swapped >> 19) ^ secret32(8) ^ secret32(12));
  } else {
    low = avalanche_xxh64(secret64(64) ^ secret64(72));
    high = avalanche_xxh64(secret64(80) ^ secret64(88));
  }
}

// At most kMaxShort bytes, by one thread.
__device__ inline void hash_short(const std::uint8_t* data, std::uint32_t bytes, std::uint64_t& high,
                                  std::uint64_t& low) {
  if (bytes <= 16) return hash_up_to_16(data, bytes, high, low);
  low = bytes * kPrime64_1;
  high = 0;
  if (bytes <= 128) {
    for (std::uint32_t at = (bytes - 1) / 32 * 16;;
         at -= 16) {  // pairs of 16 bytes, from the middle outwards
      mix32(high, low, data + at, data + bytes - 16 - at, 2 * at);
      if (at == 0) break;
    }
  } else {
    for (std::uint32_t i = 0; i < bytes / 32; ++i) {
      if (i == 4) {
        low = avalanche(low);
        high = avalanche(high);
      }
      mix32(high, low, data + 32 * i, data + 32 * i + 16, i < 4 ? 32 * i : 3 + 32 * (i - 4));
    }
    if (bytes / 32 == 4) {
      low = avalanche(low);
      high = avalanche(high);
    }
    mix32(high, low, data + bytes - 16, data + bytes - 32, 136 - 17 - 16);
  }
  finish_mixed(high, low, bytes);
}

}  // namespace baton::cuda::xxh3
