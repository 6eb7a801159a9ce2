// Workspace: the memory of a step's intermediate tensors. A bump allocator with marks.
//
// It grows by whole chunks and never moves one, so pointers stay valid until their mark is released; once it
// has seen the largest step, it allocates nothing any more. Owned by the thread that drives the Ops.
#pragma once

#include <cstddef>
#include <vector>

#include "baton/tensor/buffer.hpp"

namespace baton {

class Workspace {
 public:
  explicit Workspace(Device device = {}) : device_(device) {}
  // Aligned to 64 bytes, on a GPU to 256; not cleared. Throws std::bad_alloc where the system has no memory
  // left: an Ops has no other way to say so, and the engine thread's root catches it.
  void* allocate(std::size_t bytes);
  float* floats(std::size_t count) { return static_cast<float*>(allocate(count * sizeof(float))); }

  std::size_t mark() const { return used_before_ + used_; }
  void release(std::size_t mark);
  std::size_t capacity() const;  // bytes held

 private:
  Device device_;
  std::vector<Buffer> chunks_;
  std::size_t current_ = 0;      // chunk being filled
  std::size_t used_ = 0;         // bytes of it
  std::size_t used_before_ = 0;  // sizes of the chunks before it
};

}  // namespace baton
