// What the host has allocated for the device, so that accesses beyond it are found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace baton::emulator {

// Both kinds are reached by kernels; fresh memory is filled with bytes of 0xff (NaN in any float).
void* allocate(std::size_t bytes);
bool release(void* data);  // false: no such allocation
std::size_t allocated_bytes();

// The allocation that holds [address, address + bytes); false where there is none.
struct Range {
  std::uint64_t begin = 0, end = 0;
};
bool find_range(std::uint64_t address, std::size_t bytes, Range& found);

}  // namespace baton::emulator
