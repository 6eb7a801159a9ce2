#include "engine/handoff.hpp"

namespace baton {

std::vector<BlockHash> travel_hashes(std::span<const TokenId> tokens, std::span<const BlockHash> full_blocks,
                                     std::int32_t block_size) {
  std::vector<BlockHash> hashes(full_blocks.begin(), full_blocks.end());
  const std::span<const TokenId> tail =
      tokens.subspan(full_blocks.size() * static_cast<std::size_t>(block_size));
  if (!tail.empty()) {
    const BlockHash before = hashes.empty() ? BlockHash{} : hashes.back();
    hashes.push_back(hash_bytes(std::as_bytes(tail), before));
  }
  return hashes;
}

}  // namespace baton
