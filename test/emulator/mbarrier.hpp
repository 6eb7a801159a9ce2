// The 8 bytes of an mbarrier, and what changes them.
#pragma once

#include <utility>

#include "machine.hpp"

namespace baton::emulator {

struct MBarrier {
  std::uint16_t expected : 15 = 0;
  std::uint16_t phase : 1 = 0;
  std::uint16_t pending = 0;
  std::int32_t bytes = 0;  // that copies still have to bring

  // After an arrival, or bytes that came: the phase ends where nothing is missing.
  void turn(Phases& phases, const Clock& before) {
    join(phases.gathering, before);
    if (pending != 0 || bytes != 0) return;
    phase ^= 1;
    pending = expected;
    phases.opened = std::move(phases.gathering);
    phases.gathering.clear();
  }
};
static_assert(sizeof(MBarrier) == 8);

// One arrival of a lane of `warp`, after it has announced more bytes.
void arrive(Warp& warp, const Instruction& in, std::uint32_t address, std::int32_t more_bytes, int lane);

}  // namespace baton::emulator
