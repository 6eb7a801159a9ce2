// Buffer. On the host, small ones come from the heap, where the sanitizers see them; large ones are mapped,
// so that the system zeroes pages when they are first touched, by the thread that touches them.
#include "baton/tensor/buffer.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "backend_cuda.hpp"
#include "baton/base/units.hpp"

namespace baton {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMapped = std::size_t{1} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

bool is_mapped(std::size_t bytes) { return bytes >= kMapped; }

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

Error too_little(std::size_t bytes) {
  return make_error(ErrorCode::out_of_memory, "the system has no " + format_size(bytes) + " of memory left");
}

// Maps one huge page more than needed and gives back what sticks out on either side: huge pages need a start
// at a multiple of their size.
std::byte* map_aligned(std::size_t bytes) {
  const std::size_t reserved = bytes + kHugePage;
  void* start = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  auto* first = static_cast<std::byte*>(start);
  const std::size_t lead =
      round_up(reinterpret_cast<std::uintptr_t>(first), kHugePage) - reinterpret_cast<std::uintptr_t>(first);
  if (lead > 0) ::munmap(first, lead);
  if (kHugePage > lead) ::munmap(first + lead + bytes, kHugePage - lead);
  return first + lead;
}

}  // namespace

Result<Buffer> Buffer::allocate(Device device, std::size_t bytes, BufferOptions options) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > SIZE_MAX / 2) return too_little(bytes);
  if (device.kind == DeviceKind::cuda) {
    auto allocated = allocate_on_gpu(device, bytes);
    if (!allocated) return std::move(allocated).error();
    buffer.data_ = std::unique_ptr<std::byte, Release>(*allocated, Release{bytes, device});
    return buffer;
  }
  std::byte* data = nullptr;
  if (is_mapped(bytes)) {
    data = map_aligned(round_up(bytes, 4096));
    if (data && options.huge_pages) ::madvise(data, round_up(bytes, 4096), MADV_HUGEPAGE);
  } else {
    const std::size_t padded = round_up(bytes, kAlignment);
    data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
    if (data) std::memset(data, 0, padded);
  }
  if (!data) return too_little(bytes);
  buffer.data_ = std::unique_ptr<std::byte, Release>(data, Release{bytes, device});
  return buffer;
}

Result<void> copy_to_host(Device device, const std::byte* on_device, std::span<std::byte> host) {
  if (device.kind == DeviceKind::cuda) return copy_on_gpu(device, host.data(), on_device, host.size());
  std::memcpy(host.data(), on_device, host.size());
  return {};
}

Result<void> copy_from_host(std::span<const std::byte> host, Device device, std::byte* on_device) {
  if (device.kind == DeviceKind::cuda) return copy_on_gpu(device, on_device, host.data(), host.size());
  std::memcpy(on_device, host.data(), host.size());
  return {};
}

void Buffer::Release::operator()(std::byte* data) const {
  if (device.kind == DeviceKind::cuda) {
    release_on_gpu(device, data);
  } else if (is_mapped(bytes)) {
    ::munmap(data, round_up(bytes, 4096));
  } else {
    std::free(data);
  }
}

}  // namespace baton
