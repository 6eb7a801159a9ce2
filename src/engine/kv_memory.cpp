#include "baton/engine/kv_memory.hpp"

#include <algorithm>
#include <limits>

#include "baton/base/units.hpp"

namespace baton {

Result<KvMemory> KvMemory::allocate(const KvSpec& spec, std::uint64_t bytes, std::int32_t least_blocks,
                                    Device device, std::int32_t width) {
  if (device.kind == DeviceKind::cuda && width > 1)
    return make_error(ErrorCode::unsupported, "several GPUs for one engine", "width");
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
  auto buffer = Buffer::allocate(device, blocks * block_bytes, BufferOptions{.huge_pages = true});
  if (!buffer) return std::move(buffer).error();
  KvMemory memory;
  memory.buffer_ = std::move(*buffer);
  memory.view_ = KvView{memory.buffer_.data(), spec.layout, static_cast<std::int32_t>(blocks)};
  return memory;
}

}  // namespace baton
