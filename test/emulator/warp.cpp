// How a warp goes through its program. Its lanes are in groups that stand at the same instruction; the group
// that is furthest behind goes first, so that groups meet again where their ways do.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "machine.hpp"
#include "memory.hpp"

namespace baton::emulator {

namespace {

constexpr std::uint64_t kMost = 2'000'000'000;  // of a warp in a block: it waits for what never comes
constexpr int kSlice = 50'000;                  // instructions, before another warp has its turn

}  // namespace

void join(Clock& clock, const Clock& other) {
  if (clock.size() < other.size()) clock.resize(other.size());
  for (std::size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

Warp::Warp(Block& owner, std::uint32_t number, const Program& program)
    : block(owner),
      index(number),
      registers(program.register_bytes),
      local(program.local_bytes * kLanes),
      program_(program),
      constants_(const_cast<std::byte*>(program.constants.data())) {}

std::uint32_t Warp::id() const {
  return block.rank * static_cast<std::uint32_t>(block.cluster->warps_per_block) + index;
}

void Warp::start() {
  const Launch& launch = *block.cluster->launch;
  const std::uint32_t first = index * kLanes;
  const std::uint32_t count = std::min<std::uint32_t>(kLanes, block.threads - first);
  groups.assign(1, Group{});
  groups[0].lanes = count == kLanes ? 0xffffffffU : (1U << count) - 1;
  for (auto& lane : copies) lane.clear();
  products.clear();
  waited = !launch.dependent;
  began = instructions;
  cluster_generation = 0;
  clock.assign(block.cluster->blocks.size() * block.cluster->warps_per_block, 0);
  clock[id()] = 1;
  for (const SpecialRow& special : program_.specials) {
    for (int lane = 0; lane < kLanes; ++lane) set(special.row, lane, value_of(special, lane));
  }
}

std::uint64_t Warp::value_of(const SpecialRow& special, int lane) const {
  const Launch& launch = *block.cluster->launch;
  const std::uint32_t thread = index * kLanes + static_cast<std::uint32_t>(lane);
  switch (special.what) {
    case Special::tid_x:
      return thread % launch.block.x;
    case Special::tid_y:
      return thread / launch.block.x % launch.block.y;
    case Special::tid_z:
      return thread / launch.block.x / launch.block.y;
    case Special::ntid_x:
      return launch.block.x;
    case Special::ntid_y:
      return launch.block.y;
    case Special::ntid_z:
      return launch.block.z;
    case Special::ctaid_x:
      return block.index[0];
    case Special::ctaid_y:
      return block.index[1];
    case Special::ctaid_z:
      return block.index[2];
    case Special::nctaid_x:
      return launch.grid.x;
    case Special::nctaid_y:
      return launch.grid.y;
    case Special::nctaid_z:
      return launch.grid.z;
    case Special::lane:
      return static_cast<std::uint64_t>(lane);
    case Special::warp:
      return index;
    case Special::cluster_rank:
      return block.rank;
    case Special::cluster_size:
      return block.cluster->blocks.size();
    case Special::param:
      return reinterpret_cast<std::uint64_t>(launch.parameters.data()) + special.offset;
    case Special::local:
      return reinterpret_cast<std::uint64_t>(local.data()) +
             static_cast<std::uint64_t>(lane) * program_.local_bytes + special.offset;
    case Special::zero:
      break;
  }
  return 0;
}

std::uint32_t Warp::alive() const {
  std::uint32_t lanes = 0;
  for (const Group& group : groups) lanes |= group.lanes;
  return lanes;
}

std::string Warp::where() const {
  std::string text;
  for (const Group& group : groups) {
    char line[64];
    std::snprintf(line, sizeof(line), "  warp %u lanes %08x at %d: ", index, group.lanes, group.at);
    text += line + program_.instructions[static_cast<std::size_t>(group.at)].text + "\n";
  }
  return text;
}

void Warp::fault(const Instruction& in, int lane, const std::string& what) const {
  throw Fault(what + "\n  in " + program_.name + "\n  block " + std::to_string(block.index[0]) + "," +
              std::to_string(block.index[1]) + "," + std::to_string(block.index[2]) + " thread " +
              std::to_string(index * kLanes + static_cast<std::uint32_t>(std::max(lane, 0))) + " at " +
              std::to_string(&in - program_.instructions.data()) + ": " + in.text);
}

void Warp::tidy() {
  std::erase_if(groups, [](const Group& group) { return group.lanes == 0; });
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.at < b.at; });
  for (std::size_t i = 0; i + 1 < groups.size();) {
    Group& here = groups[i];
    Group& next = groups[i + 1];
    if (here.at == next.at && here.calls == next.calls && here.waiting < 0 && next.waiting < 0) {
      here.lanes |= next.lanes;
      groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    } else {
      ++i;
    }
  }
}

bool Warp::advance() {
  bool any = false;
  for (std::size_t i = 0; i < groups.size();) {
    if (!run_group(i)) {
      ++i;
      continue;
    }
    any = true;
    if (groups.size() == 1 && groups[0].lanes != 0) break;  // the end of its slice, or blocked by now
    tidy();
    i = 0;
  }
  current = nullptr;
  return any;
}

// The lanes for which the instruction's predicate holds.
std::uint32_t Warp::guarded(const Instruction& in) {
  if (in.guard.width == 0) return 0xffffffffU;
  std::uint32_t holds = 0;
  const auto* predicate = slots<std::uint32_t>(in.guard);
  for (int lane = 0; lane < kLanes; ++lane) holds |= (predicate[lane] != 0 ? 1U : 0U) << lane;
  return in.guard.inverted ? ~holds : holds;
}

bool Warp::run_group(std::size_t which) {
  current = &groups[which];
  Group& group = *current;
  if (instructions - began > kMost)
    fault(program_.instructions[static_cast<std::size_t>(group.at)], -1, "a warp that does not end");
  const bool alone = groups.size() == 1;
  bool any = false;
  for (int step = 0; step < kSlice; ++step) {
    const Instruction& in = program_.instructions[static_cast<std::size_t>(group.at)];
    const std::uint32_t lanes = group.lanes & guarded(in);
    switch (in.flow) {
      case Flow::plain:
        if (lanes != 0) in.run(*this, in, lanes);
        ++group.at;
        break;
      case Flow::converge:
      case Flow::attempt:
        if (lanes != 0) {
          if (lanes != group.lanes)
            fault(in, std::countr_zero(lanes), "a meeting that only some lanes come to");
          if (!in.run(*this, in, lanes)) return any;
        }
        ++group.at;
        break;
      case Flow::branch: {
        const std::uint32_t stay = group.lanes & ~lanes;
        if (lanes != 0 && stay != 0) {
          Group other = group;
          other.at = group.at + 1;
          other.lanes = stay;
          group.at = in.target;
          group.lanes = lanes;
          groups.push_back(std::move(other));
          return true;
        }
        group.at = lanes != 0 ? in.target : group.at + 1;
        break;
      }
      case Flow::call:
        if (lanes != group.lanes) fault(in, 0, "a call that only some lanes make");
        in.run(*this, in, lanes);
        group.calls.push_back(group.at + 1);
        group.at = in.target;
        break;
      case Flow::leave:
        if (lanes == 0) {
          ++group.at;
        } else if (!group.calls.empty()) {
          if (lanes != group.lanes) fault(in, 0, "a return that only some lanes make");
          group.at = group.calls.back();
          group.calls.pop_back();
        } else {
          group.lanes &= ~lanes;
          ++group.at;
          block.thread_ended(static_cast<std::uint32_t>(std::popcount(lanes)));
          if (group.lanes == 0) {
            tidy();
            return true;
          }
        }
        break;
    }
    any = true;
    ++instructions;
    if (!alone) {  // to where another group stands, or out of order
      for (std::size_t i = 0; i < groups.size(); ++i) {
        if (i != which && ((i < which) != (groups[i].at < group.at))) return true;
      }
    }
  }
  return true;
}

std::byte* Warp::pointer(const Instruction& in, std::uint64_t address, std::size_t bytes, int lane,
                         bool write, bool checked) {
  return pointer(in, in.space, address, bytes, lane, write, checked);
}

std::byte* Warp::pointer(const Instruction& in, Space space, std::uint64_t address, std::size_t bytes,
                         int lane, bool write, bool checked) {
  if (address % bytes != 0) fault(in, lane, "an address that is not a multiple of the access's size");
  const auto inside = [&](const std::byte* begin, std::size_t size) {
    const auto first = reinterpret_cast<std::uint64_t>(begin);
    return address >= first && address + bytes <= first + size;
  };
  if (space == Space::generic) {
    if (inside(block.shared + kSharedStart, block.shared_end - kSharedStart)) {
      space = Space::shared;
      address -= reinterpret_cast<std::uint64_t>(block.shared);
    } else if (inside(local.data(), local.size())) {
      space = Space::local;
    } else {
      const auto& parameters = block.cluster->launch->parameters;
      space = !write && inside(parameters.data(), parameters.size()) ? Space::param : Space::global;
    }
  }
  switch (space) {
    case Space::shared:
    case Space::cluster: {
      Block* owner = &block;
      std::uint64_t offset = address;
      if (space == Space::cluster && (address >> 24) != 0) {
        if ((address >> 24) > block.cluster->blocks.size()) fault(in, lane, "shared memory of no block");
        owner = block.cluster->blocks[(address >> 24) - 1].get();
        offset = address & 0xffffff;
        if (owner->ended == owner->threads) fault(in, lane, "shared memory of a block that has ended");
      }
      if (offset < kSharedStart || offset + bytes > owner->shared_end)
        fault(in, lane,
              "shared address " + std::to_string(offset) + " of " + std::to_string(owner->shared_end));
      if (checked)
        check_race(*owner, static_cast<std::uint32_t>(offset), bytes, write ? Access::write : Access::read,
                   clock, in);
      return owner->shared + offset;
    }
    case Space::local:
      if (!inside(local.data(), local.size())) fault(in, lane, "an address outside of local memory");
      break;
    case Space::param: {
      const auto& parameters = block.cluster->launch->parameters;
      if (!inside(parameters.data(), parameters.size()))
        fault(in, lane, "an address outside of the parameters");
      break;
    }
    case Space::constant:
      break;
    case Space::generic:
    case Space::global: {
      thread_local Range last;
      if (address < last.begin || address + bytes > last.end || last.freed != freed_so_far()) {
        if (!find_range(address, bytes, last)) {
          last = {};
          fault(in, lane, std::string(write ? "a write to" : "a read from") + " global memory out of bounds");
        }
      }
      const int device = block.cluster->launch->device;
      if (!reaches(device, last))
        fault(in, lane, "an access to the memory of another GPU that it does not reach");
      std::uint32_t& written = last.written[(address - last.begin) / 64];
      if (!waited && write) fault(in, lane, "a write before the kernel ahead has ended");
      if (!waited && written == current_round())
        fault(in, lane, "a read, before the kernel ahead has ended, of what a kernel wrote");
      if (write) written = current_round();
      break;
    }
  }
  return reinterpret_cast<std::byte*>(address);
}

void Warp::check_seen(std::uint32_t address, const Instruction& in) const {
  const Shadow& shadow = block.shadows[address / 4];
  if (shadow.writer >= 0 && shadow.writer != static_cast<std::int32_t>(id()) &&
      shadow.written > clock[static_cast<std::size_t>(shadow.writer)])
    fault(in, -1, "an mbarrier whose beginning races with its use");
}

void Warp::check_race(Block& owner, std::uint32_t address, std::size_t bytes, Access access,
                      const Clock& when, const Instruction& in) {
  const auto me = static_cast<std::int32_t>(id());
  const std::uint32_t now = when[static_cast<std::size_t>(me)];
  const bool write = access != Access::read;
  const auto unseen = [&](int other, std::uint32_t number) {
    return other >= 0 && other != me && number > when[static_cast<std::size_t>(other)];
  };
  const auto raced = [&](std::size_t word, const char* with, int other) {
    fault(in, -1,
          std::string(write ? "a write" : "a read") + " that races with a " + with + " of warp " +
              std::to_string(other) + " at shared address " + std::to_string(word * 4));
  };
  for (std::size_t word = address / 4; word <= (address + bytes - 1) / 4; ++word) {
    Shadow& shadow = owner.shadows[word];
    if (unseen(shadow.writer, shadow.written) && !(shadow.atomic && access == Access::atomic))
      raced(word, "write", shadow.writer);
    if (!write) {
      if (shadow.reader == me || shadow.reader < 0) {
        shadow.reader = me;
        shadow.read = now;
        continue;
      }
      if (shadow.readers == nullptr) shadow.readers = std::make_unique<Clock>(when.size());
      if (shadow.readers->size() < when.size()) shadow.readers->resize(when.size());
      (*shadow.readers)[static_cast<std::size_t>(me)] = now;
      continue;
    }
    if (unseen(shadow.reader, shadow.read)) raced(word, "read", shadow.reader);
    if (shadow.readers != nullptr) {
      for (std::size_t reader = 0; reader < shadow.readers->size(); ++reader)
        if (unseen(static_cast<int>(reader), (*shadow.readers)[reader]))
          raced(word, "read", static_cast<int>(reader));
      shadow.readers.reset();
    }
    shadow.writer = me;
    shadow.written = now;
    shadow.atomic = access == Access::atomic;
    shadow.reader = -1;
  }
}

}  // namespace baton::emulator
