// Tensor and KvView: views of memory that somebody else owns. Cheap to copy, never freeing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "baton/tensor/dtype.hpp"

namespace baton {

// [rows, cols], rows `stride` elements apart (a slice of columns of a wider tensor has stride > cols).
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  Tensor columns(std::int64_t first, std::int64_t count) const {
    return {static_cast<std::byte*>(data) + static_cast<std::size_t>(first) * size_of(dtype), dtype, rows,
            count, stride};
  }
};

// The kinds of KV blocks that a sequence has. A block is of KvLayout::layers layers; a model whose layers are
// not all alike has groups of so many, and a sequence has a block of each group for every block_size tokens:
// of the first `full` groups for good, of the `windowed` ones behind them while the window reaches it.
struct KvGroups {
  std::int32_t full = 1;
  std::int32_t windowed = 0;
  std::int32_t window =
      0;  // positions that a row sees in windowed groups, its own the last; 0: there are none

  std::int32_t count() const { return full + windowed; }
  // Of windowed groups, the first block that a row at `position`, or one behind it, sees.
  std::int32_t first_seen_block(std::int32_t position, std::int32_t block_size) const {
    return std::max(position + 1 - window, 0) / block_size;
  }
  // What a sequence of so many tokens has at most at one time, where steps compute up to `rows` of them.
  std::int64_t most_blocks(std::int64_t tokens, std::int64_t rows, std::int64_t block_size) const {
    const std::int64_t all = (tokens + block_size - 1) / block_size;
    return full * all + windowed * std::min(all, (window + rows + block_size - 3) / block_size + 1);
  }
  // Of a text that is computed alone, in steps of up to `rows` of them.
  std::int64_t longest_text(std::int64_t blocks, std::int64_t rows, std::int64_t block_size) const;
  // Tokens of sequences of `context` tokens each that so many blocks hold.
  std::uint64_t tokens_in(std::uint64_t blocks, std::uint64_t context, std::int32_t block_size) const {
    const std::uint64_t each = std::max<std::uint64_t>(context, static_cast<std::uint64_t>(block_size));
    const std::int64_t needed = most_blocks(static_cast<std::int64_t>(each), 1, block_size);
    return static_cast<std::uint64_t>(static_cast<double>(blocks) * static_cast<double>(each) /
                                      static_cast<double>(needed));
  }
  bool operator==(const KvGroups&) const = default;
};

// Where a layer's K and V are: in the blocks of one group, as one of their layers.
struct KvPlace {
  KvPlace(std::int32_t layer_of_block,
          std::int32_t group_of_blocks = 0)  // NOLINT: a layer, where all are alike
      : layer(layer_of_block), group(group_of_blocks) {}
  std::int32_t layer;
  std::int32_t group;
  bool operator==(const KvPlace&) const = default;
};

// What a KV block looks like in memory. First layout, id "bl2ht":
// [block][layer][K,V][kv_head][token][head_dim], so that a block is one contiguous range over all layers, a
// layer of it one piece, a range of heads a slice. Only `tensor` knows this order.
struct KvLayout {
  DType dtype = DType::f32;
  std::int32_t layers = 0;  // of one block
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t block_size = 16;  // tokens
  KvGroups groups = {};

  std::size_t head_bytes() const {
    return static_cast<std::size_t>(block_size) * head_dim * size_of(dtype);
  }  // one (layer, K/V, head) piece
  std::size_t layer_bytes() const { return 2 * static_cast<std::size_t>(kv_heads) * head_bytes(); }
  std::size_t block_bytes() const { return static_cast<std::size_t>(layers) * layer_bytes(); }
  // Of a token that all groups have.
  std::size_t bytes_per_token() const {
    return static_cast<std::size_t>(groups.count()) * block_bytes() / static_cast<std::size_t>(block_size);
  }
  bool operator==(const KvLayout&) const = default;
  // E.g. "bl2ht/bf16/l22/h4/d64/b16", or ".../b16/g1+5w1024" of groups; equal ids mean equal bytes.
  std::string id() const;
};

// Which part of a group (tensor parallelism, group.hpp) something is for: rank of width.
struct GroupPlace {
  std::int32_t rank = 0;
  std::int32_t width = 1;
};
struct Share {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
// The rank's consecutive part of n >= width: equal parts where n is a multiple of the width, else cut at
// multiples of 64 where there are enough of them.
Share share_of(std::int64_t n, GroupPlace place);

// The paged KV pool of one engine: `base` points at block 0. A rank of a group sees a slice of it: all
// blocks, but only some heads.
struct KvView {
  std::byte* base = nullptr;
  KvLayout layout;
  std::int32_t blocks = 0;
  std::int32_t first_head = 0;  // of the layout's heads: where the slice starts
  std::int32_t head_count = 0;  // 0: all of them
  // Of a group whose ranks have memory of their own, with blocks of their own heads only: each rank's. `base`
  // then only names blocks; nothing lies there.
  std::byte* const* ranks = nullptr;

  std::int32_t heads() const { return head_count > 0 ? head_count : layout.kv_heads; }
  std::byte* block(std::int32_t id) const {
    return base + static_cast<std::size_t>(id) * layout.block_bytes();
  }
  // [token][head_dim] of one block, layer, K (0) or V (1), and KV head of the slice.
  std::byte* piece(std::int32_t id, std::int32_t layer, int k_or_v, std::int32_t head) const {
    return block(id) + static_cast<std::size_t>(layer) * layout.layer_bytes() +
           (static_cast<std::size_t>(k_or_v) * layout.kv_heads + first_head + head) * layout.head_bytes();
  }
  // What a rank computes with: layout.kv_heads is a multiple of the width.
  KvView of(GroupPlace place) const;
};

// The layout of the blocks in the memory of one of `width` ranks.
KvLayout rank_layout(KvLayout layout, std::int32_t width);

}  // namespace baton
