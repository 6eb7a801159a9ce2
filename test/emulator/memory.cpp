#include "memory.hpp"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace baton::emulator {

namespace {

struct Allocations {
  std::mutex mutex;
  std::map<std::uint64_t, std::size_t> bytes_at;
  std::size_t total = 0;
};

Allocations& allocations() {
  static auto* all = new Allocations;  // outlives the destructors of whoever frees late
  return *all;
}

}  // namespace

void* allocate(std::size_t bytes) {
  constexpr std::size_t kAlign = 512;
  const std::size_t rounded = (bytes + kAlign) / kAlign * kAlign;  // at least a byte between two allocations
  void* data = std::aligned_alloc(kAlign, rounded);
  if (data == nullptr) return nullptr;
  std::memset(data, 0xff, rounded);
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  all.bytes_at[reinterpret_cast<std::uint64_t>(data)] = bytes;
  all.total += bytes;
  return data;
}

bool release(void* data) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  const auto found = all.bytes_at.find(reinterpret_cast<std::uint64_t>(data));
  if (found == all.bytes_at.end()) return false;
  all.total -= found->second;
  all.bytes_at.erase(found);
  std::free(data);
  return true;
}

std::size_t allocated_bytes() {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  return all.total;
}

bool find_range(std::uint64_t address, std::size_t bytes, Range& found) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  auto next = all.bytes_at.upper_bound(address);
  if (next == all.bytes_at.begin()) return false;
  --next;
  found = {next->first, next->first + next->second};
  return address + bytes <= found.end;
}

}  // namespace baton::emulator
