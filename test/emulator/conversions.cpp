// cvt, cvta, mapa.
#include <cmath>
#include <limits>
#include <type_traits>

#include "machine.hpp"
#include "numbers.hpp"

namespace baton::emulator {

namespace {

template <class From>
From read(Warp& warp, const Operand& operand, int lane) {
  const std::uint64_t bits = warp.value(operand, lane);
  if constexpr (std::is_same_v<From, float>) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  } else if constexpr (std::is_same_v<From, double>) {
    return std::bit_cast<double>(bits);
  } else {
    return static_cast<From>(bits);
  }
}

template <class To>
void write(Warp& warp, const Operand& operand, int lane, To value) {
  if constexpr (std::is_same_v<To, float>) {
    warp.set(operand, lane, std::bit_cast<std::uint32_t>(value));
  } else if constexpr (std::is_same_v<To, double>) {
    warp.set(operand, lane, std::bit_cast<std::uint64_t>(value));
  } else if constexpr (std::is_signed_v<To>) {
    warp.set(operand, lane, static_cast<std::uint64_t>(static_cast<std::int64_t>(value)));
  } else {
    warp.set(operand, lane, value);
  }
}

// From reals to integers by the rounding that is asked for, clamped, NaN to 0.
template <class To, class From>
To to_integer(From value) {
  if (std::isnan(value))
    return sizeof(To) == 8 && sizeof(From) == 8 ? static_cast<To>(std::uint64_t{1} << 63) : To{0};
  if (static_cast<long double>(value) >= static_cast<long double>(std::numeric_limits<To>::max()))
    return std::numeric_limits<To>::max();
  if (static_cast<long double>(value) <= static_cast<long double>(std::numeric_limits<To>::min()))
    return std::numeric_limits<To>::min();
  return static_cast<To>(value);
}

enum class Rounding {
  usual,
  zero_integer,
  nearest_integer,
  down_integer,
  up_integer,
  towards_zero,
  saturate
};

template <class To, class From, Rounding kHow>
bool convert(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const From value = read<From>(warp, in.from[0], i);
    if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
      From rounded = value;
      if (kHow == Rounding::zero_integer) rounded = std::trunc(value);
      if (kHow == Rounding::nearest_integer) rounded = std::nearbyint(value);
      if (kHow == Rounding::down_integer) rounded = std::floor(value);
      if (kHow == Rounding::up_integer) rounded = std::ceil(value);
      write<To>(warp, in.to, i, to_integer<To>(rounded));
    } else if constexpr (std::is_floating_point_v<From> && std::is_floating_point_v<To>) {
      auto made = static_cast<To>(value);
      if (kHow == Rounding::saturate)
        made = std::isnan(made) ? To{0} : std::min(std::max(made, To{0}), To{1});
      if (kHow == Rounding::down_integer) made = std::floor(made);
      if (kHow == Rounding::up_integer) made = std::ceil(made);
      if (kHow == Rounding::nearest_integer) made = std::nearbyint(made);
      if (kHow == Rounding::zero_integer) made = std::trunc(made);
      write<To>(warp, in.to, i, made);
    } else if constexpr (std::is_floating_point_v<To> && kHow == Rounding::towards_zero) {
      auto made = static_cast<To>(value);
      if (static_cast<long double>(std::fabs(made)) > std::fabs(static_cast<long double>(value)))
        made = std::nextafter(made, To{0});
      write<To>(warp, in.to, i, made);
    } else {
      write<To>(warp, in.to, i, static_cast<To>(value));
    }
  });
  return true;
}

template <class To, class From>
Run convert_by(const Opcode& opcode) {
  if (opcode.has("rzi")) return convert<To, From, Rounding::zero_integer>;
  if (opcode.has("rni")) return convert<To, From, Rounding::nearest_integer>;
  if (opcode.has("rmi")) return convert<To, From, Rounding::down_integer>;
  if (opcode.has("rpi")) return convert<To, From, Rounding::up_integer>;
  if (opcode.has("rz")) return convert<To, From, Rounding::towards_zero>;
  if (opcode.has("rm") || opcode.has("rp")) return nullptr;
  if (opcode.has("sat"))
    return std::is_floating_point_v<To> ? convert<To, From, Rounding::saturate> : nullptr;
  return convert<To, From, Rounding::usual>;
}

template <class To>
Run convert_to(const Opcode& opcode) {
  const std::string& from = opcode.type();
  if (from == "f32") return convert_by<To, float>(opcode);
  if (from == "f64") return convert_by<To, double>(opcode);
  if (from == "s8") return convert_by<To, std::int8_t>(opcode);
  if (from == "u8") return convert_by<To, std::uint8_t>(opcode);
  if (from == "s16") return convert_by<To, std::int16_t>(opcode);
  if (from == "u16") return convert_by<To, std::uint16_t>(opcode);
  if (from == "s32") return convert_by<To, std::int32_t>(opcode);
  if (from == "u32") return convert_by<To, std::uint32_t>(opcode);
  if (from == "s64") return convert_by<To, std::int64_t>(opcode);
  if (from == "u64") return convert_by<To, std::uint64_t>(opcode);
  return nullptr;
}

template <class Small>
bool widen(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    write<float>(warp, in.to, i, Small::widen(static_cast<std::uint16_t>(warp.value(in.from[0], i))));
  });
  return true;
}
template <class Small>
bool narrow(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) { warp.set(in.to, i, Small::round(read<float>(warp, in.from[0], i))); });
  return true;
}
// The first source becomes the upper half.
template <class Small>
bool narrow_pair(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::uint32_t high = Small::round(read<float>(warp, in.from[0], i));
    const std::uint32_t low = Small::round(read<float>(warp, in.from[1], i));
    warp.set(in.to, i, high << 16 | low);
  });
  return true;
}
bool e4m3_from_pair(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::uint32_t high = E4m3::round(read<float>(warp, in.from[0], i));
    const std::uint32_t low = E4m3::round(read<float>(warp, in.from[1], i));
    warp.set(in.to, i, high << 8 | low);
  });
  return true;
}
bool e4m3_to_pair(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::uint64_t both = warp.value(in.from[0], i);
    const std::uint32_t low = Half16::round(E4m3::widen(static_cast<std::uint8_t>(both)));
    const std::uint32_t high = Half16::round(E4m3::widen(static_cast<std::uint8_t>(both >> 8)));
    warp.set(in.to, i, high << 16 | low);
  });
  return true;
}

Run choose_run(const Opcode& opcode) {
  const std::string& to = opcode.type(1);
  const std::string& from = opcode.type();
  if (opcode.has("relu") || opcode.has("ftz")) return nullptr;
  if (to == "f32" && from == "f16") return widen<Half16>;
  if (to == "f32" && from == "bf16") return widen<Brain16>;
  if (opcode.has("rn") && from == "f32") {
    if (to == "f16") return narrow<Half16>;
    if (to == "bf16") return narrow<Brain16>;
    if (to == "f16x2") return narrow_pair<Half16>;
    if (to == "bf16x2") return narrow_pair<Brain16>;
    if (to == "e4m3x2" && opcode.has("satfinite")) return e4m3_from_pair;
  }
  if (to == "f16x2" && from == "e4m3x2") return e4m3_to_pair;
  if (to == "f32") return convert_to<float>(opcode);
  if (to == "f64") return convert_to<double>(opcode);
  if (to == "s8") return convert_to<std::int8_t>(opcode);
  if (to == "u8") return convert_to<std::uint8_t>(opcode);
  if (to == "s16") return convert_to<std::int16_t>(opcode);
  if (to == "u16") return convert_to<std::uint16_t>(opcode);
  if (to == "s32") return convert_to<std::int32_t>(opcode);
  if (to == "u32") return convert_to<std::uint32_t>(opcode);
  if (to == "s64") return convert_to<std::int64_t>(opcode);
  if (to == "u64") return convert_to<std::uint64_t>(opcode);
  return nullptr;
}

// --- Addresses
// -------------------------------------------------------------------------------------------------

bool same_address(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) { warp.set(in.to, i, warp.value(in.from[0], i)); });
  return true;
}
bool from_shared(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const auto zero = reinterpret_cast<std::uint64_t>(warp.block.shared);
  each(lanes, [&](int i) { warp.set(in.to, i, zero + warp.value(in.from[0], i)); });
  return true;
}
bool to_shared(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const auto zero = reinterpret_cast<std::uint64_t>(warp.block.shared);
  each(lanes, [&](int i) { warp.set(in.to, i, warp.value(in.from[0], i) - zero); });
  return true;
}
// The address of the same place in another block's shared memory: its rank, plus one, above bit 24.
bool map_address(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::uint64_t rank = warp.value(in.from[1], i);
    if (rank >= warp.block.cluster->blocks.size()) warp.fault(in, i, "a rank beyond the cluster");
    warp.set(in.to, i, (warp.value(in.from[0], i) & 0xffffff) | (rank + 1) << 24);
  });
  return true;
}

}  // namespace

Choice choose_conversion(const Opcode& opcode) {
  Choice choice;
  if (opcode.name() == "cvt") {
    choice.run = choose_run(opcode);
    const std::uint8_t width = lane_bytes(opcode.type());
    choice.widths = {width, width, width, width};
  } else if (opcode.name() == "cvta") {
    choice.widths = {8, 8, 8, 8};
    choice.run = !opcode.has("shared") ? same_address : opcode.has("to") ? to_shared : from_shared;
  } else if (opcode.name() == "mapa" && opcode.type() == "u32") {
    choice.run = map_address;
  }
  return choice;
}

}  // namespace baton::emulator
