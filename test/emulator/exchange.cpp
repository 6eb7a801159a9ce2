// What the lanes of a warp tell each other.
#include <cstring>

#include "machine.hpp"

namespace baton::emulator {

namespace {

// Whether every lane of `members` that lives stands here.
bool all_here(Warp& warp, std::uint32_t members, std::uint32_t lanes) {
  return (members & warp.alive() & ~lanes) == 0;
}

std::uint32_t members_of(Warp& warp, const Operand& mask, std::uint32_t lanes) {
  return static_cast<std::uint32_t>(warp.value(mask, std::countr_zero(lanes)));
}

enum class Way { up, down, butterfly, index };

template <Way kWay>
bool shuffle(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!all_here(warp, members_of(warp, in.from[3], lanes), lanes)) return false;
  std::uint32_t before[kLanes];
  std::memcpy(before, warp.row(in.from[0]), sizeof(before));
  each(lanes, [&](int i) {
    const auto lane = static_cast<std::uint32_t>(i);
    const auto by = static_cast<std::uint32_t>(warp.value(in.from[1], i)) & 31;
    const auto c = static_cast<std::uint32_t>(warp.value(in.from[2], i));
    const std::uint32_t clamp = c & 31, segment = c >> 8 & 31;
    const std::uint32_t last = (lane & segment) | (clamp & ~segment);
    const std::uint32_t first = lane & segment;
    std::uint32_t source = 0;
    bool valid = false;
    if (kWay == Way::up) {
      source = lane - by;
      valid = static_cast<std::int32_t>(source) >= static_cast<std::int32_t>(last);
    } else if (kWay == Way::down) {
      source = lane + by;
      valid = source <= last;
    } else if (kWay == Way::butterfly) {
      source = lane ^ by;
      valid = source <= last;
    } else {
      source = first | (by & ~segment);
      valid = source <= last;
    }
    if (!valid) source = lane;
    if ((lanes >> source & 1U) == 0) warp.fault(in, i, "a shuffle from a lane that is not there");
    warp.set(in.to, i, before[source]);
    warp.set(in.second, i, valid ? 1 : 0);
  });
  return true;
}

std::uint32_t ballot_of(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  std::uint32_t ballot = 0;
  each(lanes, [&](int i) {
    if ((warp.value(in.from[0], i) != 0) != in.from[0].inverted) ballot |= 1U << i;
  });
  return ballot;
}

enum class Vote { any, all, ballot };

template <Vote kHow>
bool vote(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!all_here(warp, members_of(warp, in.from[1], lanes), lanes)) return false;
  const std::uint32_t ballot = ballot_of(warp, in, lanes);
  std::uint32_t result = ballot;
  if (kHow == Vote::any) result = ballot != 0 ? 1 : 0;
  if (kHow == Vote::all) result = ballot == lanes ? 1 : 0;
  each(lanes, [&](int i) { warp.set(in.to, i, result); });
  return true;
}

enum class Reduction { add, min, max };

template <Reduction kHow, class T>
bool reduce(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!all_here(warp, members_of(warp, in.from[1], lanes), lanes)) return false;
  T sum = static_cast<T>(warp.value(in.from[0], std::countr_zero(lanes)));
  each(lanes & (lanes - 1), [&](int i) {
    const auto value = static_cast<T>(warp.value(in.from[0], i));
    if (kHow == Reduction::add)
      sum = static_cast<T>(static_cast<std::uint32_t>(sum) + static_cast<std::uint32_t>(value));
    if (kHow == Reduction::min) sum = std::min(sum, value);
    if (kHow == Reduction::max) sum = std::max(sum, value);
  });
  each(lanes, [&](int i) { warp.set(in.to, i, static_cast<std::uint32_t>(sum)); });
  return true;
}

bool meet(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  return all_here(warp, members_of(warp, in.from[0], lanes), lanes);
}

Run choose_reduction(const Opcode& opcode) {
  const bool is_signed = opcode.type() == "s32";
  if (opcode.has("add")) return reduce<Reduction::add, std::uint32_t>;
  if (opcode.has("min"))
    return is_signed ? reduce<Reduction::min, std::int32_t> : reduce<Reduction::min, std::uint32_t>;
  if (opcode.has("max"))
    return is_signed ? reduce<Reduction::max, std::int32_t> : reduce<Reduction::max, std::uint32_t>;
  return nullptr;
}

}  // namespace

Choice choose_exchange(const Opcode& opcode) {
  Choice choice;
  choice.flow = Flow::converge;
  if (!opcode.has("sync")) return choice;
  if (opcode.name() == "shfl") {
    choice.run = opcode.has("up")     ? shuffle<Way::up>
                 : opcode.has("down") ? shuffle<Way::down>
                 : opcode.has("bfly") ? shuffle<Way::butterfly>
                                      : shuffle<Way::index>;
  } else if (opcode.name() == "vote") {
    choice.run = opcode.has("any")      ? vote<Vote::any>
                 : opcode.has("all")    ? vote<Vote::all>
                 : opcode.has("ballot") ? vote<Vote::ballot>
                                        : nullptr;
  } else if (opcode.name() == "redux") {
    choice.run = choose_reduction(opcode);
  } else if (opcode.name() == "bar" && opcode.has("warp")) {
    choice.run = meet;
    choice.has_result = false;
  }
  return choice;
}

}  // namespace baton::emulator
