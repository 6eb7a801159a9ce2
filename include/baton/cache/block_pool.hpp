// BlockPool: who uses which KV block. Ids and hashes only, never bytes; the bytes lie in the engine's KvView.
//
// Blocks of all groups (KvGroups) come from one pool: they are equally large, and any block serves any group.
// What is said to the cluster's index is what the first group has.
//
// A block is free, in use (pinned by at least one BlockRef), or cached (unpinned, but its hash is known and
// its content may be hit until it is evicted, least recently released first; who releases a chain does so
// tail first, as SequenceBlocks does, so that its head is evicted last). A block that is unpinned without
// having been published is free at once. Invariant: free + in_use + cached == total. A pool keeps each
// published block's token ids and compares them on a hit, so a hash alone never serves a block. Owned by the
// engine thread; not thread-safe. BlockRefs must not outlive their pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/cache/block.hpp"
#include "baton/cache/block_ref.hpp"
#include "baton/cache/sequence_blocks.hpp"

namespace baton {

struct BlockEvent {
  enum class Kind : std::uint8_t { stored, removed };
  Kind kind = Kind::stored;
  BlockHash hash;
};

class BlockPool {
 public:
  BlockPool(std::int32_t blocks, std::int32_t block_size, const KvGroups& groups = {});
  ~BlockPool();

  // The longest prefix of these hashes from which a sequence can go on: of groups without a window all its
  // blocks are here with these tokens, of the others those that the row behind it sees. Pinned. `tokens`
  // holds at least hashes.size() full blocks.
  SequenceBlocks match(std::span<const BlockHash> hashes, std::span<const TokenId> tokens);
  // How many leading blocks `match` would find, without pinning.
  std::size_t match_length(std::span<const BlockHash> hashes, std::span<const TokenId> tokens) const;

  // Some block of the first group is published under it; its tokens are not compared.
  bool contains(BlockHash hash) const;

  // n fresh blocks, for any group, evicting cached ones as needed; all or nothing (out_of_memory).
  Result<std::vector<BlockRef>> allocate(std::size_t n);

  // Room behind `blocks` for the K and V of a text of so many tokens that is computed elsewhere: of windowed
  // groups where the next row will see it. All or nothing (out_of_memory).
  Result<void> extend(SequenceBlocks& blocks, std::int32_t tokens);

  // The block's content is finished and is that of a group for `tokens` (block_size of them) under this chain
  // hash: from now on it can be hit. If another block already carries the hash, that one keeps it and this
  // block stays anonymous. Idempotent.
  void publish(const BlockRef& block, BlockHash hash, std::span<const TokenId> tokens,
               std::int32_t group = 0);

  // What changed since the last call: at most one event for each hash, since changes that undo each other are
  // dropped. So their order means nothing, and few are kept where nobody takes them.
  std::vector<BlockEvent> take_events();
  std::vector<BlockHash> published() const;  // for an index snapshot, in no order
  BlockSetDigest digest() const;             // of what `published` would say

  std::uint32_t generation(BlockId id) const;  // raised each time the block is handed out afresh
  std::size_t total() const;
  std::size_t free() const;
  std::size_t in_use() const;
  std::size_t cached() const;
  std::size_t available() const { return free() + cached(); }
  std::int32_t block_size() const;
  const KvGroups& groups() const;

 private:
  friend class BlockRef;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
