#include "workspace.hpp"

#include <algorithm>
#include <new>

namespace baton {
namespace {
constexpr std::size_t kFirstChunk = std::size_t{1} << 20;
}  // namespace

void* Workspace::allocate(std::size_t bytes) {
  const std::size_t alignment = device_.kind == DeviceKind::cuda ? 256 : 64;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  while (current_ < chunks_.size() && used_ + size > chunks_[current_].size()) {
    used_before_ += chunks_[current_].size();
    ++current_;
    used_ = 0;
  }
  if (current_ == chunks_.size()) {
    auto chunk = Buffer::allocate(device_, std::max({size, kFirstChunk, capacity()}), {.huge_pages = true});
    if (!chunk) throw std::bad_alloc();
    chunks_.push_back(*std::move(chunk));
  }
  std::byte* data = chunks_[current_].data() + used_;
  used_ += size;
  return data;
}

void Workspace::release(std::size_t mark) {
  while (mark < used_before_) {
    --current_;
    used_before_ -= chunks_[current_].size();
  }
  used_ = mark - used_before_;
}

std::size_t Workspace::capacity() const {
  std::size_t total = 0;
  for (const Buffer& chunk : chunks_) total += chunk.size();
  return total;
}

}  // namespace baton
