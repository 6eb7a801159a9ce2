// What the two halves of a KV-cache handoff share: the identity of each block that travels, and how they
// reach the rest of the engine.
//
// Invariant of both halves: a block stays pinned while anything in flight may read or write it. All on the
// engine thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/cache/block.hpp"
#include "baton/schedule/request.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

// The blocks of a text on its way. Both sides number them alike, group by group for each block_size tokens,
// and both know which of them travel at all: of windowed groups those that the next row sees.
class TravellingBlocks {
 public:
  TravellingBlocks() = default;
  // `full_blocks`: the chain's hashes of the full ones; a partial last one has a hash of its tokens under the
  // chain so far.
  TravellingBlocks(std::span<const TokenId> tokens, std::span<const BlockHash> full_blocks,
                   const KvLayout& layout);

  std::size_t size() const { return hashes_.size() * width(); }
  std::size_t depth() const { return hashes_.size(); }  // in blocks of tokens
  std::size_t width() const { return static_cast<std::size_t>(groups_.count()); }
  std::size_t block_of(std::size_t index) const { return index / width(); }
  std::int32_t group_of(std::size_t index) const { return static_cast<std::int32_t>(index % width()); }
  BlockHash hash(std::size_t index) const { return hash_in_group(hashes_[block_of(index)], group_of(index)); }
  bool travels(std::size_t index) const {
    return group_of(index) < groups_.full || block_of(index) >= first_seen_;
  }

 private:
  KvGroups groups_;
  std::size_t first_seen_ = 0;     // of windowed groups
  std::vector<BlockHash> hashes_;  // of the first group
};

// Runs a callback on the engine thread, from any thread. False once the engine has stopped.
using Post = std::function<bool(std::function<void()>)>;

}  // namespace baton
