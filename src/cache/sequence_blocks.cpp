#include "baton/cache/sequence_blocks.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace baton {

SequenceBlocks::SequenceBlocks(SequenceBlocks&& other) noexcept
    : groups_(other.groups_),
      refs_(std::exchange(other.refs_, {})),
      pinned_(std::exchange(other.pinned_, 0)),
      left_behind_(std::exchange(other.left_behind_, 0)) {}

SequenceBlocks& SequenceBlocks::operator=(SequenceBlocks&& other) noexcept {
  if (this == &other) return *this;
  clear();
  groups_ = other.groups_;
  refs_ = std::exchange(other.refs_, {});
  pinned_ = std::exchange(other.pinned_, 0);
  left_behind_ = std::exchange(other.left_behind_, 0);
  return *this;
}

void SequenceBlocks::write_ids(std::int32_t group, std::span<BlockId> ids) const {
  assert(ids.size() == size());
  const std::size_t step = width();  // what is written could be `groups_`, as far as a compiler knows
  std::size_t at = refs_.size() + static_cast<std::size_t>(group);
  BlockId next = 0;
  for (std::size_t i = ids.size(); i-- > 0;) {
    const BlockId here = refs_[at -= step].id();
    ids[i] = next = here >= 0 ? here : next;
  }
}

void SequenceBlocks::append(std::vector<BlockRef> refs) {
  assert(refs.size() % width() == 0);
  pinned_ +=
      static_cast<std::size_t>(std::ranges::count_if(refs, [](const BlockRef& ref) { return bool(ref); }));
  std::ranges::move(refs, std::back_inserter(refs_));
}

void SequenceBlocks::leave_behind(std::size_t blocks, std::size_t own) {
  if (groups_.windowed == 0) return;
  for (const std::size_t end = std::min(blocks, size()); left_behind_ < end; ++left_behind_) {
    for (std::size_t group = static_cast<std::size_t>(groups_.full); group < width(); ++group) {
      BlockRef& ref = refs_[left_behind_ * width() + group];
      if (!ref) continue;
      if (left_behind_ < own)
        ref.reset();
      else
        ref.reset_first_to_go();
      --pinned_;
    }
  }
}

void SequenceBlocks::truncate(std::size_t blocks) {
  while (refs_.size() > blocks * width()) {
    if (refs_.back()) --pinned_;
    refs_.pop_back();
  }
  left_behind_ = std::min(left_behind_, blocks);
}

}  // namespace baton
