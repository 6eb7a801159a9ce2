// Block hashes: a chain of XXH3 over token ids, so that a block's hash stands for the whole text up to its
// end. Invariant: every field of the key is hashed as a link of its own, so fields cannot run into each
// other.
#include "baton/cache/block.hpp"

namespace baton {

BlockHashKey make_block_hash_key(std::string_view cluster_secret, Hash128 model_fingerprint,
                                 std::string_view layout_id, std::string_view salt) {
  Hash128 key = hash_string("baton block chain");
  key = hash_string(cluster_secret, key);
  key = hash_bytes(std::as_bytes(std::span(&model_fingerprint, 1)), key);
  key = hash_string(layout_id, key);
  return {hash_string(salt, key)};
}

BlockHash next_block_hash(BlockHash previous, std::span<const TokenId> block) {
  return hash_bytes(std::as_bytes(block), previous);
}

std::vector<BlockHash> block_hashes(std::span<const TokenId> tokens, std::int32_t block_size,
                                    const BlockHashKey& key) {
  std::vector<BlockHash> hashes;
  if (block_size <= 0) return hashes;
  const auto size = static_cast<std::size_t>(block_size);
  hashes.reserve(tokens.size() / size);
  BlockHash previous = key.key;
  for (std::size_t begin = 0; begin + size <= tokens.size(); begin += size) {
    previous = next_block_hash(previous, tokens.subspan(begin, size));
    hashes.push_back(previous);
  }
  return hashes;
}

}  // namespace baton
