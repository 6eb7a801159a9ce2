// Copies that happen later: cp.async, done when its thread waits for it, and boxes that the copy engine
// brings, done when nobody can go on without them.
#include <cstring>
#include <utility>

#include "machine.hpp"
#include "mbarrier.hpp"
#include "tensor_map.hpp"

namespace baton::emulator {

namespace {

void finish(Warp& warp, const Instruction& in, std::vector<AsyncCopy>& group) {
  for (const AsyncCopy& copy : group) {
    warp.check_race(warp.block, copy.shared, copy.bytes + copy.zeros, Access::write, warp.clock, in);
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
    std::memset(copy.to + copy.bytes, 0, copy.zeros);
  }
  group.clear();
}

std::vector<std::vector<AsyncCopy>>& groups_of(Warp& warp, int lane) {
  auto& groups = warp.copies[static_cast<std::size_t>(lane)];
  if (groups.empty()) groups.emplace_back();
  return groups;
}

// [to], [from], bytes {, bytes that are read; the rest are zeros}
template <bool kHint>  // a policy stands last
bool copy_async(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const bool has_size = in.from[3].width != 0 && !(kHint && in.list.empty());
  each(lanes, [&](int i) {
    const auto bytes = static_cast<std::uint32_t>(warp.value(in.from[2], i));
    const auto read = has_size ? static_cast<std::uint32_t>(warp.value(in.from[3], i)) : bytes;
    if (read > bytes) warp.fault(in, i, "a copy that reads more than it writes");
    const std::uint64_t to = warp.value(in.from[0], i) + static_cast<std::uint64_t>(in.offset);
    AsyncCopy copy;
    copy.to = warp.pointer(in, Space::shared, to, bytes, i, true, false);
    copy.shared = static_cast<std::uint32_t>(to);
    copy.bytes = read;
    copy.zeros = bytes - read;
    const std::uint64_t from = warp.value(in.from[1], i);
    if (from % bytes != 0) warp.fault(in, i, "a source that is not a multiple of the copy's size");
    // It may be written from here on: by then nobody may read or write there any more.
    warp.check_race(warp.block, copy.shared, bytes, Access::write, warp.clock, in);
    if (read > 0) copy.from = warp.pointer(in, Space::global, from, read, i, false);
    groups_of(warp, i).back().push_back(copy);
  });
  return true;
}

bool commit_copies(Warp& warp, const Instruction&, std::uint32_t lanes) {
  each(lanes, [&](int i) { groups_of(warp, i).emplace_back(); });
  return true;
}

bool wait_copies(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const auto pending = static_cast<std::size_t>(in.number);
  each(lanes, [&](int i) {
    auto& groups = groups_of(warp, i);  // the last is not committed
    while (groups.size() > pending + 1) {
      finish(warp, in, groups.front());
      groups.erase(groups.begin());
    }
  });
  return true;
}

bool wait_all_copies(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    for (auto& group : groups_of(warp, i)) finish(warp, in, group);
    groups_of(warp, i).resize(1);
  });
  return true;
}

// An arrival at the mbarrier once this thread's copies are done: here, at once.
bool arrive_after_copies(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    for (auto& group : groups_of(warp, i)) finish(warp, in, group);
    arrive(warp, in, static_cast<std::uint32_t>(warp.value(in.from[0], i)), 0, i);
  });
  return true;
}

// --- The copy engine
// -------------------------------------------------------------------------------------------

struct Box {
  TensorMap map;
  std::array<std::int64_t, 4> start{};
  std::uint32_t to = 0;
  std::uint32_t barrier = 0;
  bool waited = true;  // for the kernel ahead, when it was asked for
  Clock started;
};

std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 7 & 7U) << 4; }

// One element row after the other, in shared memory without gaps; what lies outside of the array is zero.
void bring(Warp& warp, const Instruction& in, const Box& box) {
  const TensorMap& map = box.map;
  const bool waited_by_now = std::exchange(warp.waited, box.waited);
  std::uint64_t elements = 1;
  for (std::uint32_t d = 0; d < map.rank; ++d) elements *= map.box[d];
  const auto bytes = static_cast<std::uint32_t>(elements * map.element);
  warp.pointer(in, Space::shared, box.to, 16, -1, true, false);
  if (box.to + bytes > warp.block.shared_end) warp.fault(in, -1, "a box beyond shared memory");
  warp.check_race(warp.block, box.to, bytes, Access::write, box.started, in);
  std::array<std::uint32_t, 4> at{};
  for (std::uint64_t element = 0; element < elements; ++element) {
    std::uint64_t from = map.base;
    bool inside = true;
    for (std::uint32_t d = 0; d < map.rank; ++d) {
      const std::int64_t position = box.start[d] + at[d];
      inside = inside && position >= 0 && position < static_cast<std::int64_t>(map.sizes[d]);
      from += static_cast<std::uint64_t>(position) * map.strides[d];
    }
    const auto to = static_cast<std::uint32_t>(box.to + element * map.element);
    std::byte* place = warp.block.shared + (map.swizzle_128 ? swizzled(to) : to);
    if (inside) {
      std::memcpy(place, warp.pointer(in, Space::global, from, map.element, -1, false), map.element);
    } else {
      std::memset(place, 0, map.element);
    }
    for (std::uint32_t d = 0; d < map.rank && ++at[d] == map.box[d]; ++d) at[d] = 0;
  }
  warp.waited = waited_by_now;
  MBarrier barrier;
  std::byte* place = warp.pointer(in, Space::shared, box.barrier, 8, -1, true, false);
  std::memcpy(&barrier, place, sizeof(barrier));
  barrier.bytes -= static_cast<std::int32_t>(bytes);
  barrier.turn(warp.block.phases_of(box.barrier), box.started);
  std::memcpy(place, &barrier, sizeof(barrier));
}

// [to], [map, {coordinates}], [mbarrier]
bool copy_box(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    Box box;
    std::memcpy(&box.map, reinterpret_cast<const std::byte*>(warp.value(in.from[1], i)), sizeof(TensorMap));
    if (box.map.magic != TensorMap::kMagic) warp.fault(in, i, "no tensor map");
    for (std::size_t d = 0; d < box.map.rank; ++d)
      box.start[d] = static_cast<std::int32_t>(warp.value(in.list[d], i));
    box.to = static_cast<std::uint32_t>(warp.value(in.from[0], i) + static_cast<std::uint64_t>(in.offset));
    box.barrier = static_cast<std::uint32_t>(warp.value(in.from[2], i));
    if (box.to % (box.map.swizzle_128 ? 1024 : 128) != 0)
      warp.fault(in, i, "a box at a place that is not aligned");
    box.waited = warp.waited;
    box.started = warp.release();
    warp.block.cluster->copies.push_back([&warp, &in, box] { bring(warp, in, box); });
  });
  return true;
}

}  // namespace

Choice choose_copy(const Opcode& opcode) {
  Choice choice;
  choice.has_result = false;
  choice.widths = {8, 8, 4, 4};
  if (opcode.name() != "cp" || !opcode.has("async")) return choice;
  if (opcode.has("bulk")) {
    if (opcode.has("prefetch")) {
      choice.run = nothing;
    } else if (opcode.has("tensor") && opcode.has("shared::cluster") && !opcode.has("multicast::cluster")) {
      choice.run = copy_box;
      choice.widths = {8, 8, 8, 8};
    }
  } else if (opcode.has("mbarrier")) {
    choice.run = opcode.has("noinc") ? arrive_after_copies : nullptr;
  } else if (opcode.has("commit_group")) {
    choice.run = commit_copies;
  } else if (opcode.has("wait_group")) {
    choice.run = wait_copies;
  } else if (opcode.has("wait_all")) {
    choice.run = wait_all_copies;
  } else {
    choice.run = opcode.has("L2::cache_hint") ? copy_async<true> : copy_async<false>;
  }
  return choice;
}

}  // namespace baton::emulator
