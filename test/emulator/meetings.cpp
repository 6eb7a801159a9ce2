// Barriers: of a block (bar), of a cluster, and those in shared memory that count arrivals and bytes
// (mbarrier).
#include <cstring>

#include "machine.hpp"
#include "mbarrier.hpp"

namespace baton::emulator {

namespace {

std::uint32_t count_of(std::uint32_t lanes) { return static_cast<std::uint32_t>(std::popcount(lanes)); }

Barrier& barrier_of(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const std::uint64_t number = warp.value(in.from[0], std::countr_zero(lanes));
  if (number >= warp.block.barriers.size()) warp.fault(in, 0, "no such barrier");
  return warp.block.barriers[number];
}

std::uint32_t expected_at(Warp& warp, const Instruction& in, const Operand& count, std::uint32_t lanes) {
  if (count.width == 0) return warp.block.threads - warp.block.ended;
  const auto expected = static_cast<std::uint32_t>(warp.value(count, std::countr_zero(lanes)));
  if (expected % kLanes != 0)
    warp.fault(in, 0, "a barrier for a number of threads that is no multiple of 32");
  return expected;
}

void arrive_at(Warp& warp, Barrier& barrier, std::uint32_t lanes, std::uint32_t expected) {
  join(barrier.gathering, warp.release());
  barrier.arrived += count_of(lanes);
  warp.block.release(barrier, expected);
}

// Arrives once, then is tried until the barrier has turned over.
bool wait_at(Warp& warp, Barrier& barrier, std::uint32_t lanes, std::uint32_t expected) {
  if (warp.current->waiting < 0) {
    warp.current->waiting = barrier.generation;
    arrive_at(warp, barrier, lanes, expected);
  }
  if (warp.current->waiting == barrier.generation) return false;
  warp.current->waiting = -1;
  join(warp.clock, barrier.opened);
  return true;
}

bool bar_sync(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  return wait_at(warp, barrier_of(warp, in, lanes), lanes, expected_at(warp, in, in.from[1], lanes));
}

bool bar_arrive(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  arrive_at(warp, barrier_of(warp, in, lanes), lanes, expected_at(warp, in, in.from[1], lanes));
  return true;
}

bool bar_or(Warp& warp, const Instruction& in, std::uint32_t lanes) {  // d, barrier, predicate
  Barrier& barrier = barrier_of(warp, in, lanes);
  const Operand& predicate = in.from[1];
  if (warp.current->waiting < 0) {
    each(lanes, [&](int i) { barrier.any |= (warp.value(predicate, i) != 0) != predicate.inverted; });
  }
  if (!wait_at(warp, barrier, lanes, expected_at(warp, in, Operand{}, lanes))) return false;
  each(lanes, [&](int i) { warp.set(in.to, i, barrier.result ? 1 : 0); });
  return true;
}

// --- Clusters
// --------------------------------------------------------------------------------------------------

bool cluster_arrive(Warp& warp, const Instruction&, std::uint32_t lanes) {
  Cluster& cluster = *warp.block.cluster;
  warp.cluster_generation = cluster.generation;
  join(cluster.barrier, warp.release());
  cluster.arrived += count_of(lanes);
  cluster.release();
  return true;
}

bool cluster_wait(Warp& warp, const Instruction&, std::uint32_t) {
  if (warp.cluster_generation == warp.block.cluster->generation) return false;
  join(warp.clock, warp.block.cluster->opened);
  return true;
}

// --- mbarrier
// --------------------------------------------------------------------------------------------------

std::uint32_t mbarrier_address(Warp& warp, const Instruction& in, int lane) {
  return static_cast<std::uint32_t>(warp.value(in.from[0], lane) + static_cast<std::uint64_t>(in.offset));
}

bool mbarrier_init(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    std::byte* place = warp.pointer(in, mbarrier_address(warp, in, i), 8, i, true);
    const auto count = static_cast<std::uint16_t>(warp.value(in.from[1], i));
    const MBarrier made{.expected = count, .pending = count};
    std::memcpy(place, &made, sizeof(made));
    warp.block.phases_of(mbarrier_address(warp, in, i)) = {};
  });
  return true;
}

bool mbarrier_arrive(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) { arrive(warp, in, mbarrier_address(warp, in, i), 0, i); });
  return true;
}

bool mbarrier_expect(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    arrive(warp, in, mbarrier_address(warp, in, i), static_cast<std::int32_t>(warp.value(in.from[1], i)), i);
  });
  return true;
}

bool mbarrier_wait(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  bool complete = true;
  each(lanes, [&](int i) {
    MBarrier barrier;
    const std::uint32_t address = mbarrier_address(warp, in, i);
    warp.check_seen(address, in);
    std::memcpy(&barrier, warp.pointer(in, address, 8, i, false, false), sizeof(barrier));
    complete = complete && barrier.phase != (warp.value(in.from[1], i) & 1);
  });
  if (!complete) return false;
  each(lanes, [&](int i) {
    join(warp.clock, warp.block.phases_of(mbarrier_address(warp, in, i)).opened);
    warp.set(in.to, i, 1);
  });
  return true;
}

}  // namespace

void arrive(Warp& warp, const Instruction& in, std::uint32_t address, std::int32_t more_bytes, int lane) {
  std::byte* place = warp.pointer(in, Space::shared, address, 8, lane, true, false);
  MBarrier barrier;
  warp.check_seen(address, in);
  std::memcpy(&barrier, place, sizeof(barrier));
  if (barrier.expected == 0 || barrier.pending == 0)
    warp.fault(in, lane, "an arrival that the mbarrier does not expect");
  barrier.bytes += more_bytes;
  --barrier.pending;
  barrier.turn(warp.block.phases_of(address), warp.release());
  std::memcpy(place, &barrier, sizeof(barrier));
}

Choice choose_meeting(const Opcode& opcode) {
  Choice choice;
  choice.has_result = false;
  const std::string& name = opcode.name();
  if (name == "bar" && !opcode.has("warp")) {
    choice.flow = opcode.has("arrive") ? Flow::plain : Flow::attempt;
    choice.run = opcode.has("sync")     ? bar_sync
                 : opcode.has("arrive") ? bar_arrive
                 : opcode.has("or")     ? bar_or
                                        : nullptr;
    choice.has_result = opcode.has("red");
  } else if (name == "barrier" && opcode.has("cluster")) {
    choice.flow = opcode.has("arrive") ? Flow::plain : Flow::attempt;
    choice.run = opcode.has("arrive") ? cluster_arrive : cluster_wait;
  } else if (name == "mbarrier") {
    choice.widths = {8, 4, 4, 4};
    if (opcode.has("init")) {
      choice.run = mbarrier_init;
    } else if (opcode.has("try_wait") && opcode.has("parity")) {
      choice.run = mbarrier_wait;
      choice.flow = Flow::attempt;
      choice.has_result = true;
    } else if (opcode.has("arrive")) {
      choice.has_result = true;  // the state, which nobody uses
      choice.run = opcode.has("expect_tx") ? mbarrier_expect : mbarrier_arrive;
    }
  }
  return choice;
}

}  // namespace baton::emulator
