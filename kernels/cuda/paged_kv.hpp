// One layer of the paged KV cache as kernels see it: strides, so that they know no layout. A piece is the
// [block_size][head_dim] keys or values of one block and KV head, contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/element.hpp"

namespace baton::cuda {

struct PagedKv {
  std::byte* base = nullptr;      // the keys of block 0, head 0, of this layer
  std::int64_t block_stride = 0;  // bytes from one block to the next
  std::int64_t head_stride = 0;   // bytes from one KV head's piece to the next
  std::int64_t value_offset = 0;  // bytes from a piece of keys to the same piece of values
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t block_size = 0;  // tokens, a power of two
  Element element = Element::bf16;
};

}  // namespace baton::cuda
