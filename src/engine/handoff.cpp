#include "engine/handoff.hpp"

namespace baton {

TravellingBlocks::TravellingBlocks(std::span<const TokenId> tokens, std::span<const BlockHash> full_blocks,
                                   const KvLayout& layout)
    : groups_(layout.groups),
      first_seen_(static_cast<std::size_t>(
          groups_.first_seen_block(static_cast<std::int32_t>(tokens.size()), layout.block_size))),
      hashes_(full_blocks.begin(), full_blocks.end()) {
  const std::span<const TokenId> tail =
      tokens.subspan(full_blocks.size() * static_cast<std::size_t>(layout.block_size));
  if (tail.empty()) return;
  const BlockHash before = hashes_.empty() ? BlockHash{} : hashes_.back();
  hashes_.push_back(hash_bytes(std::as_bytes(tail), before));
}

}  // namespace baton
