#include "baton/engine/kv_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <limits>

#include "baton/base/units.hpp"

namespace baton {

Result<KvMemory> KvMemory::allocate(const KvSpec& spec, std::uint64_t bytes, std::int32_t least_blocks,
                                    Device device, std::int32_t width) {
  const std::uint64_t block_bytes = spec.layout.block_bytes();
  const std::uint64_t most = std::numeric_limits<std::int32_t>::max();
  const std::uint64_t blocks = std::min(bytes / block_bytes, most);
  if (blocks < static_cast<std::uint64_t>(least_blocks)) {
    return make_error(ErrorCode::out_of_memory,
                      "the KV cache needs at least " + std::to_string(least_blocks) + " blocks of " +
                          format_size(block_bytes) + " = " +
                          format_size(block_bytes * static_cast<std::uint64_t>(least_blocks)) +
                          ", but has only " + format_size(bytes),
                      "kv-memory");
  }
  KvMemory memory;
  memory.view_ = KvView{nullptr, spec.layout, static_cast<std::int32_t>(blocks)};
  if (device.kind == DeviceKind::cuda && width > 1) {
    auto made = memory.allocate_ranks(memory.view_.blocks, device, width);
    if (!made) return std::move(made).error();
    return memory;
  }
  auto buffer = Buffer::allocate(device, blocks * block_bytes, BufferOptions{.huge_pages = true});
  if (!buffer) return std::move(buffer).error();
  memory.view_.base = buffer->data();
  memory.buffers_.push_back(std::move(*buffer));
  return memory;
}

Result<void> KvMemory::allocate_ranks(std::int32_t blocks, Device first, std::int32_t width) {
  const KvLayout layout = view_.layout;
  const auto count = static_cast<std::size_t>(blocks);
  const std::size_t each = rank_layout(layout, width).block_bytes() * count;
  for (std::int32_t rank = 0; rank < width; ++rank) {
    auto buffer = Buffer::allocate({first.kind, first.index + rank}, each);
    if (!buffer) return std::move(buffer).error();
    ranks_.push_back(buffer->data());
    buffers_.push_back(std::move(*buffer));
  }
  const std::size_t bytes = layout.block_bytes() * count;
  void* names = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (names == MAP_FAILED)
    return make_error(ErrorCode::out_of_memory, "no addresses for " + format_size(bytes) + " of KV blocks");
  names_ = {static_cast<std::byte*>(names), Names{bytes}};
  view_.base = names_.get();
  view_.ranks = ranks_.data();
  return {};
}

void KvMemory::Names::operator()(std::byte* first) const { ::munmap(first, bytes); }

std::span<std::byte> KvMemory::bytes() const {
  if (view_.ranks != nullptr || buffers_.empty()) return {};
  return {buffers_.front().data(), buffers_.front().size()};
}

}  // namespace baton
