// Predicates: how they are made, combined and chosen by; and mov.
#include <cmath>

#include "slots.hpp"

namespace baton::emulator {

namespace {

// --- Predicates
// ------------------------------------------------------------------------------------------------

bool predicate(Warp& warp, const Operand& operand, int lane) {
  return (warp.slots<std::uint32_t>(operand)[lane] != 0) != operand.inverted;
}

enum class Compare { eq, ne, lt, le, gt, ge, num, nan };

template <class T, Compare kHow, bool kUnordered>
bool compare(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<std::uint32_t>(in.to);
  const auto* a = warp.slots<Slot<T>>(in.from[0]);
  const auto* b = warp.slots<Slot<T>>(in.from[1]);
  each(lanes, [&](int i) {
    const T x = unpack<T>(a[i]), y = unpack<T>(b[i]);
    bool holds = false;
    bool unordered = false;
    if constexpr (std::is_floating_point_v<T>) unordered = std::isnan(x) || std::isnan(y);
    if (kHow == Compare::eq) holds = x == y;
    if (kHow == Compare::ne) holds = x != y && !unordered;
    if (kHow == Compare::lt) holds = x < y;
    if (kHow == Compare::le) holds = x <= y;
    if (kHow == Compare::gt) holds = x > y;
    if (kHow == Compare::ge) holds = x >= y;
    if (kHow == Compare::num) holds = !unordered;
    if (kHow == Compare::nan) holds = unordered;
    to[i] = (kUnordered && unordered) || holds ? 1 : 0;
  });
  return true;
}

template <Compare kHow, bool kUnordered>
Run compare_of(const std::string& type) {
  if (type == "f32") return compare<float, kHow, kUnordered>;
  if (type == "f64") return compare<double, kHow, kUnordered>;
  if (type == "s16") return compare<std::int16_t, kHow, kUnordered>;
  if (type == "u16" || type == "b16") return compare<std::uint16_t, kHow, kUnordered>;
  if (type == "s32") return compare<std::int32_t, kHow, kUnordered>;
  if (type == "u32" || type == "b32") return compare<std::uint32_t, kHow, kUnordered>;
  if (type == "s64") return compare<std::int64_t, kHow, kUnordered>;
  if (type == "u64" || type == "b64") return compare<std::uint64_t, kHow, kUnordered>;
  return nullptr;
}

Run choose_compare(const Opcode& opcode) {
  if (opcode.parts.size() < 3) return nullptr;
  const std::string& how = opcode.parts[1];
  const std::string& type = opcode.type();
  if (opcode.parts.size() > 3 && opcode.parts[2] != "ftz") return nullptr;  // combined with another predicate
  if (how == "eq") return compare_of<Compare::eq, false>(type);
  if (how == "ne") return compare_of<Compare::ne, false>(type);
  if (how == "lt" || how == "lo") return compare_of<Compare::lt, false>(type);
  if (how == "le" || how == "ls") return compare_of<Compare::le, false>(type);
  if (how == "gt" || how == "hi") return compare_of<Compare::gt, false>(type);
  if (how == "ge" || how == "hs") return compare_of<Compare::ge, false>(type);
  if (how == "equ") return compare_of<Compare::eq, true>(type);
  if (how == "neu") return compare_of<Compare::ne, true>(type);
  if (how == "ltu") return compare_of<Compare::lt, true>(type);
  if (how == "leu") return compare_of<Compare::le, true>(type);
  if (how == "gtu") return compare_of<Compare::gt, true>(type);
  if (how == "geu") return compare_of<Compare::ge, true>(type);
  if (how == "num") return compare_of<Compare::num, false>(type);
  if (how == "nan") return compare_of<Compare::nan, false>(type);
  return nullptr;
}

template <class Do>
bool predicates(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<std::uint32_t>(in.to);
  each(lanes, [&](int i) {
    const bool b = in.from[1].width != 0 && predicate(warp, in.from[1], i);
    to[i] = Do{}(predicate(warp, in.from[0], i), b) ? 1 : 0;
  });
  return true;
}
struct Both {
  bool operator()(bool a, bool b) const { return a && b; }
};
struct Either {
  bool operator()(bool a, bool b) const { return a || b; }
};
struct OnlyOne {
  bool operator()(bool a, bool b) const { return a != b; }
};
struct Opposite {
  bool operator()(bool a, bool) const { return !a; }
};
struct Same {
  bool operator()(bool a, bool) const { return a; }
};

template <class Bits>
bool select(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<Bits>(in.to);
  const auto* a = warp.slots<Bits>(in.from[0]);
  const auto* b = warp.slots<Bits>(in.from[1]);
  each(lanes, [&](int i) { to[i] = predicate(warp, in.from[2], i) ? a[i] : b[i]; });
  return true;
}

// --- mov
// -------------------------------------------------------------------------------------------------------

template <class Bits>
bool copy(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (in.to.width != sizeof(Bits) || in.from[0].width != sizeof(Bits)) {
    each(lanes, [&](int i) { warp.set(in.to, i, warp.value(in.from[0], i)); });
    return true;
  }
  auto* to = warp.slots<Bits>(in.to);
  const auto* a = warp.slots<Bits>(in.from[0]);
  each(lanes, [&](int i) { to[i] = a[i]; });
  return true;
}

// {low, high} to one register, or back; kBits in all.
template <int kBits>
bool move(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (in.list.empty())
    return kBits == 64 ? copy<std::uint64_t>(warp, in, lanes) : copy<std::uint32_t>(warp, in, lanes);
  const int part = kBits / static_cast<int>(in.list.size());
  const std::uint64_t mask = (std::uint64_t{1} << part) - 1;
  each(lanes, [&](int i) {
    if (in.to.width != 0) {
      std::uint64_t bits = 0;
      for (std::size_t k = 0; k < in.list.size(); ++k)
        bits |= (warp.value(in.list[k], i) & mask) << (part * static_cast<int>(k));
      warp.set(in.to, i, bits);
    } else {
      const std::uint64_t bits = warp.value(in.from[0], i);
      for (std::size_t k = 0; k < in.list.size(); ++k)
        warp.set(in.list[k], i, bits >> (part * static_cast<int>(k)) & mask);
    }
  });
  return true;
}

Run choose_run(const Opcode& opcode) {
  const std::string& name = opcode.name();
  const std::string& type = opcode.type();
  if (name == "setp") return choose_compare(opcode);
  if (type == "pred") {
    if (name == "and") return predicates<Both>;
    if (name == "or") return predicates<Either>;
    if (name == "xor") return predicates<OnlyOne>;
    if (name == "not") return predicates<Opposite>;
    return name == "mov" ? predicates<Same> : nullptr;
  }
  if (name == "mov") {
    if (type.ends_with("64")) return move<64>;
    return type.ends_with("16") ? move<16> : move<32>;
  }
  if (name == "selp") return lane_bytes(type) == 8 ? select<std::uint64_t> : select<std::uint32_t>;
  return nullptr;
}

}  // namespace

Choice choose_selection(const Opcode& opcode) {
  Choice choice;
  choice.run = choose_run(opcode);
  if (!choice) return choice;
  const std::uint8_t width = opcode.type() == "pred" ? 4 : lane_bytes(opcode.type());
  choice.widths = {width, width, opcode.name() == "selp" ? std::uint8_t{4} : width, width};
  return choice;
}

}  // namespace baton::emulator
