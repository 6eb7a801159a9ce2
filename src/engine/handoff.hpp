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

namespace baton {

// One hash for each block that holds `tokens`: the chain hashes of the full ones, and for a partial last one
// a hash of its tokens under the chain so far.
std::vector<BlockHash> travel_hashes(std::span<const TokenId> tokens, std::span<const BlockHash> full_blocks,
                                     std::int32_t block_size);

// Blocks needed for so many tokens.
inline std::size_t blocks_for(std::size_t tokens, std::int32_t block_size) {
  const auto size = static_cast<std::size_t>(block_size);
  return (tokens + size - 1) / size;
}

// Runs a callback on the engine thread, from any thread. False once the engine has stopped.
using Post = std::function<bool(std::function<void()>)>;

}  // namespace baton
