// BlockPool: who uses which KV block. Ids and hashes only, never bytes; the bytes lie in the engine's KvView.
//
// A block is free, in use (pinned by at least one BlockRef), or cached (unpinned, but its hash is known and
// its content may be hit until it is evicted, least recently released first; who releases a chain does so
// tail first, see release_tail_first, so that its head is evicted last). A block that is unpinned without
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

namespace baton {

class BlockPool;

// A move-only pin of one block. Destroying it unpins.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept;
  BlockRef& operator=(BlockRef&& other) noexcept;
  ~BlockRef();

  BlockId id() const { return id_; }
  explicit operator bool() const { return pool_ != nullptr; }
  BlockRef share() const;  // one more pin of the same block
  void reset();

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, BlockId id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  BlockId id_ = -1;
};

// Unpins a chain so that its tail is evicted before its head. A vector's own destructor goes head first: the
// tail would stay cached without the head that makes it reachable.
void release_tail_first(std::vector<BlockRef>& blocks);

struct BlockEvent {
  enum class Kind : std::uint8_t { stored, removed };
  Kind kind = Kind::stored;
  BlockHash hash;
};

class BlockPool {
 public:
  BlockPool(std::int32_t blocks, std::int32_t block_size);
  ~BlockPool();

  // The longest run of leading hashes whose blocks are here with these tokens; pinned. `tokens` holds at
  // least hashes.size() full blocks.
  std::vector<BlockRef> match(std::span<const BlockHash> hashes, std::span<const TokenId> tokens);
  // How many leading blocks `match` would pin, without pinning.
  std::size_t match_length(std::span<const BlockHash> hashes, std::span<const TokenId> tokens) const;

  bool contains(BlockHash hash) const;  // some block is published under it; its tokens are not compared

  // n fresh blocks, evicting cached ones as needed; all or nothing (out_of_memory).
  Result<std::vector<BlockRef>> allocate(std::size_t n);

  // The block's content is finished and equals `tokens` (block_size of them) under this chain hash: from now
  // on it can be hit. If another block already carries the hash, that one keeps it and this block stays
  // anonymous. Idempotent.
  void publish(const BlockRef& block, BlockHash hash, std::span<const TokenId> tokens);

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

 private:
  friend class BlockRef;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
