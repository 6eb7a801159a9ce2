// Names of element types and KV layouts; shares of a group's ranks.
#include "baton/tensor/tensor.hpp"

#include <cassert>

namespace baton {

std::string_view to_string(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::e4m3:
      return "e4m3";
  }
  return "unknown";
}

std::int64_t KvGroups::longest_text(std::int64_t blocks, std::int64_t rows, std::int64_t block_size) const {
  std::int64_t fits = 0, beyond = (blocks + 1) * block_size;  // a block for every block_size tokens, at least
  if (full == 0) beyond = std::int64_t{1} << 31;
  while (fits + 1 < beyond) {
    const std::int64_t middle = fits + (beyond - fits) / 2;
    (most_blocks(middle, std::min(rows, middle), block_size) <= blocks ? fits : beyond) = middle;
  }
  return fits;
}

std::string KvLayout::id() const {
  std::string text = "bl2ht/";
  text += to_string(dtype);
  text += "/l" + std::to_string(layers) + "/h" + std::to_string(kv_heads) + "/d" + std::to_string(head_dim) +
          "/b" + std::to_string(block_size);
  if (groups == KvGroups{}) return text;
  text += "/g" + std::to_string(groups.full) + "+" + std::to_string(groups.windowed);
  if (groups.windowed > 0) text += "w" + std::to_string(groups.window);
  return text;
}

Share share_of(std::int64_t n, GroupPlace place) {
  constexpr std::int64_t kUnit = 64;
  const std::int64_t unit = n % place.width != 0 && n >= kUnit * place.width ? kUnit : 1;
  const std::int64_t units = (n + unit - 1) / unit;
  const auto start = [&](std::int64_t rank) {
    return rank == place.width ? n : units * rank / place.width * unit;
  };
  return {start(place.rank), start(place.rank + 1) - start(place.rank)};
}

KvLayout rank_layout(KvLayout layout, std::int32_t width) {
  assert(layout.kv_heads % width == 0);
  layout.kv_heads /= width;
  return layout;
}

KvView KvView::of(GroupPlace place) const {
  if (place.width == 1) return *this;
  KvView slice{ranks ? ranks[place.rank] : base, rank_layout(layout, place.width), blocks};
  if (ranks) return slice;
  slice.head_count = slice.layout.kv_heads;
  slice.first_head = place.rank * slice.head_count;
  slice.layout = layout;
  return slice;
}

}  // namespace baton
