// Names of KV blocks: ids within a pool, hashes across the cluster.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/token.hpp"

namespace baton {

using BlockId = std::int32_t;
using BlockHash = Hash128;  // identity of a full block's content: all tokens from the beginning of the text
                            // to the block's end

// What a set of blocks comes to: equal for equal sets, in whatever order their blocks came and went. The
// hashes are XXH3's output, so their plain sum (modulo 2^64, word by word) is as good as one of hashes hashed
// again.
struct BlockSetDigest {
  std::uint64_t count = 0;
  Hash128 sum;

  void add(const BlockHash& hash) {
    ++count;
    sum = {sum.high + hash.high, sum.low + hash.low};
  }
  void remove(const BlockHash& hash) {
    --count;
    sum = {sum.high - hash.high, sum.low - hash.low};
  }
  bool operator==(const BlockSetDigest&) const = default;
};

// The chain's key: cluster secret, model fingerprint, KV dtype, LoRA id, tenant salt, all hashed into one.
struct BlockHashKey {
  Hash128 key;
};
BlockHashKey make_block_hash_key(std::string_view cluster_secret, Hash128 model_fingerprint,
                                 std::string_view layout_id, std::string_view salt);

// The chain's next link: H(previous, tokens of one block). The first block's `previous` is the chain's key.
BlockHash next_block_hash(BlockHash previous, std::span<const TokenId> block);

// What a block of a group holds is the same text's, but other layers'.
inline BlockHash hash_in_group(BlockHash hash, std::int32_t group) {
  return {hash.high, hash.low + static_cast<std::uint64_t>(group) * 0x9e3779b97f4a7c15ULL};
}

// Hashes of the full blocks of `tokens`: hash[i] = H(hash[i-1], tokens of block i). A partial last block has
// none.
std::vector<BlockHash> block_hashes(std::span<const TokenId> tokens, std::int32_t block_size,
                                    const BlockHashKey& key);

}  // namespace baton
