// SequenceBlocks: which blocks hold a sequence's K and V: for every block_size tokens one of each group
// (KvGroups). Of windowed groups the leading ones may be gone.
//
// Owned by whoever has the sequence: the engine thread. Its pool must outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "baton/cache/block_ref.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

class SequenceBlocks {
 public:
  SequenceBlocks() = default;  // of one group, without a window
  explicit SequenceBlocks(const KvGroups& groups) : groups_(groups) {}
  SequenceBlocks(SequenceBlocks&& other) noexcept;
  SequenceBlocks& operator=(SequenceBlocks&& other) noexcept;
  ~SequenceBlocks() { clear(); }

  const KvGroups& groups() const { return groups_; }
  std::size_t size() const { return refs_.size() / width(); }  // in blocks of tokens
  bool empty() const { return refs_.empty(); }
  std::size_t pinned() const { return pinned_; }  // blocks of all groups
  // Empty where the window has left it behind, or where it has never come.
  const BlockRef& at(std::size_t block, std::int32_t group = 0) const {
    return refs_[block * width() + static_cast<std::size_t>(group)];
  }
  // Of one group, [size]. Where one is gone, the next that is there stands in for it.
  void write_ids(std::int32_t group, std::span<BlockId> ids) const;

  // Behind the last: whole ones, [n][groups]; of windowed groups they may be empty.
  void append(std::vector<BlockRef> refs);
  // Those that lie before it, of windowed groups. From `own` on nobody else is likely to come this way: those
  // are evicted first.
  void leave_behind(std::size_t blocks, std::size_t own);
  void truncate(std::size_t blocks);
  // Tail first, so that the tail is evicted before the head that makes it reachable.
  void clear() { truncate(0); }

 private:
  std::size_t width() const { return static_cast<std::size_t>(groups_.count()); }

  KvGroups groups_;
  std::vector<BlockRef> refs_;  // [size][groups]
  std::size_t pinned_ = 0;
  std::size_t left_behind_ = 0;
};

}  // namespace baton
