// The digest of a block in flight: XXH3-128 of each (layer, K/V, head) piece, combined in order with what the
// block is (transfer, index, hash), so that right bytes in the wrong place do not verify either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baton/base/hash.hpp"

namespace baton::transfer {

struct BlockIdentity {
  Hash128 transfer;
  std::uint32_t index = 0;
  Hash128 hash;
};

// piece_bytes 0: the block is one piece. A last piece may be shorter.
Hash128 block_digest(const BlockIdentity& identity, std::span<const std::byte> bytes,
                     std::size_t piece_bytes);

}  // namespace baton::transfer
