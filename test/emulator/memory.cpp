#include "memory.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace baton::emulator {

namespace {

struct Allocation {
  std::size_t bytes = 0;
  int device = kOnHost;
  std::uint32_t peers = 0;
  std::vector<std::uint32_t> written;
};

struct Allocations {
  std::mutex mutex;
  std::map<std::uint64_t, Allocation> at;
  std::map<int, std::size_t> total;  // by device
};

Allocations& allocations() {
  static auto* all = new Allocations;  // outlives the destructors of whoever frees late
  return *all;
}

std::atomic<std::uint32_t> round_number = 1;
std::atomic<std::uint64_t> freed = 0;

}  // namespace

std::uint32_t current_round() { return round_number; }
void end_round() { ++round_number; }
std::uint64_t freed_so_far() { return freed; }

void* allocate(std::size_t bytes, int device, std::uint32_t peers) {
  constexpr std::size_t kAlign = 512;
  const std::size_t rounded = (bytes + kAlign) / kAlign * kAlign;  // at least a byte between two allocations
  void* data = std::aligned_alloc(kAlign, rounded);
  if (data == nullptr) return nullptr;
  std::memset(data, 0xff, rounded);
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  all.at[reinterpret_cast<std::uint64_t>(data)] = {bytes, device, peers,
                                                   std::vector<std::uint32_t>(rounded / 64)};
  all.total[device] += bytes;
  return data;
}

bool release(void* data) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  const auto found = all.at.find(reinterpret_cast<std::uint64_t>(data));
  if (found == all.at.end()) return false;
  all.total[found->second.device] -= found->second.bytes;
  all.at.erase(found);
  std::free(data);
  ++freed;
  return true;
}

std::size_t allocated_bytes(int device) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  return all.total[device];
}

bool find_range(std::uint64_t address, std::size_t bytes, Range& found) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  auto next = all.at.upper_bound(address);
  if (next == all.at.begin()) return false;
  --next;
  found = {next->first,        next->first + next->second.bytes, freed, next->second.device,
           next->second.peers, next->second.written.data()};
  return address + bytes <= found.end;
}

}  // namespace baton::emulator
