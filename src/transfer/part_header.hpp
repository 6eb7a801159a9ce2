// What travels in front of every part of a block: which transfer and block it belongs to, and how to verify
// it.
//
// The bytes come from outside: parse_part_header checks the geometry, so that a header that parses always
// describes a range inside a block of total_bytes. Wire form: 104 bytes, little-endian, in field order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "baton/base/hash.hpp"

namespace baton::transfer {

inline constexpr std::size_t kPartHeaderBytes = 104;
inline constexpr std::uint64_t kMaxParts = 1 << 16;  // of one block

struct PartHeader {
  Hash128 transfer;
  Hash128 hash;               // what the sender says the block is
  Hash128 digest;             // of the whole block, see digest.hpp
  Hash128 sender;             // the sending transport's identity, from its address
  std::uint64_t attempt = 0;  // unique to each send of a sender: parts of two sends never mix
  std::uint64_t total_bytes = 0;
  std::uint64_t part_bytes = 0;  // of every part but the last
  std::uint32_t index = 0;
  std::uint32_t part = 0;
  bool has_digest = false;

  std::uint64_t parts() const { return (total_bytes + part_bytes - 1) / part_bytes; }
  std::uint64_t offset() const { return part * part_bytes; }
  std::uint64_t length() const {
    return total_bytes - offset() < part_bytes ? total_bytes - offset() : part_bytes;
  }
};

std::array<std::byte, kPartHeaderBytes> encode_part_header(const PartHeader& header);
// Nothing if it is not a header of this version or its numbers contradict each other.
std::optional<PartHeader> parse_part_header(std::span<const std::byte> bytes);

}  // namespace baton::transfer
