// The digest of a block in flight: of its content (XXH3-128 of each (layer, K/V, head) piece, combined in
// order) and of what the block is (transfer, index, hash), so that right bytes in the wrong place do not
// verify either. The content's part does not change while the block does not: it can be computed once, ahead
// of time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/transfer/kv_transport.hpp"

namespace baton::transfer {

struct BlockIdentity {
  Hash128 transfer;
  std::uint32_t index = 0;
  Hash128 hash;
};

// piece_bytes 0: the block is one piece. A last piece may be shorter.
Hash128 content_digest(std::span<const std::byte> bytes, std::size_t piece_bytes);
Hash128 content_digest(std::size_t bytes,
                       std::span<const Hash128> pieces);  // of a block's pieces, hashed before
Result<Hash128> content_digest_in(BlockMemory& memory, std::span<const std::byte> block,
                                  std::size_t piece_bytes);
Hash128 block_digest(const BlockIdentity& identity, Hash128 content);

}  // namespace baton::transfer
