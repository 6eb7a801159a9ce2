// What the host has allocated for the device, so that accesses beyond it are found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace baton::emulator {

// Of a GPU, or pinned on the host (kOnHost); fresh memory is filled with bytes of 0xff (NaN in any float).
constexpr int kOnHost = -1;
void* allocate(std::size_t bytes, int device, std::uint32_t peers = 0);
bool release(void* data);  // false: no such allocation
std::size_t allocated_bytes(int device);
std::uint64_t freed_so_far();  // allocations

// The allocation that holds [address, address + bytes); false where there is none.
struct Range {
  std::uint64_t begin = 0, end = 0;
  std::uint64_t freed = ~std::uint64_t{0};  // what freed_so_far() said then: it holds as long as that stays
  int device = kOnHost;
  std::uint32_t peers = 0;           // GPUs, one bit each, that reach it besides
  std::uint32_t* written = nullptr;  // for every 64 bytes: the round in which a kernel wrote there last
};
bool find_range(std::uint64_t address, std::size_t bytes, Range& found);

// Whether kernels on the GPU may touch it.
inline bool reaches(int device, const Range& range) {
  return range.device == kOnHost || range.device == device || (range.peers >> device & 1U) != 0;
}

// Rounds of work end where the host waits for it: what kernels wrote in this round may be under way still.
std::uint32_t current_round();
void end_round();

}  // namespace baton::emulator
