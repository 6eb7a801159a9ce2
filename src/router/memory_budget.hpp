// MemoryBudget: the block index's bound in bytes. Whoever allocates takes from it first, and does without
// where there is not enough.
#pragma once

#include <cstddef>

namespace baton {

class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

  bool take(std::size_t bytes) {
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void give(std::size_t bytes) { used_ -= bytes; }
  std::size_t used() const { return used_; }

 private:
  const std::size_t limit_;
  std::size_t used_ = 0;
};

}  // namespace baton
