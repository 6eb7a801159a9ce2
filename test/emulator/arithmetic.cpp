// Instructions from registers to registers, lane by lane.
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <type_traits>

#include "numbers.hpp"
#include "slots.hpp"

namespace baton::emulator {

namespace {

template <class T, class Do>
bool unary(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<Slot<T>>(in.to);
  const auto* a = warp.slots<Slot<T>>(in.from[0]);
  each(lanes, [&](int i) { to[i] = pack<T>(Do{}(unpack<T>(a[i]))); });
  return true;
}

template <class T, class Do>
bool binary(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<Slot<T>>(in.to);
  const auto* a = warp.slots<Slot<T>>(in.from[0]);
  const auto* b = warp.slots<Slot<T>>(in.from[1]);
  each(lanes, [&](int i) { to[i] = pack<T>(Do{}(unpack<T>(a[i]), unpack<T>(b[i]))); });
  return true;
}

template <class T, class Do>
bool ternary(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<Slot<T>>(in.to);
  const auto* a = warp.slots<Slot<T>>(in.from[0]);
  const auto* b = warp.slots<Slot<T>>(in.from[1]);
  const auto* c = warp.slots<Slot<T>>(in.from[2]);
  each(lanes, [&](int i) { to[i] = pack<T>(Do{}(unpack<T>(a[i]), unpack<T>(b[i]), unpack<T>(c[i]))); });
  return true;
}

template <class T>
using Bits = std::make_unsigned_t<T>;

// Signed overflow wraps.
template <class T, class Do>
T wrapping(T a, T b, Do&& act) {
  if constexpr (std::is_integral_v<T>) {
    using Wide = std::conditional_t<(sizeof(T) < 4), std::uint32_t, Bits<T>>;
    return static_cast<T>(act(static_cast<Wide>(a), static_cast<Wide>(b)));
  } else {
    return act(a, b);
  }
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return wrapping(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Sub {
  template <class T>
  T operator()(T a, T b) const {
    return wrapping(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct Mul {
  template <class T>
  T operator()(T a, T b) const {
    return wrapping(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct MulAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add{}(Mul{}(a, b), c);
  }
};
struct MulHigh {
  template <class T>
  T operator()(T a, T b) const {
    __extension__ typedef __int128 Signed;
    __extension__ typedef unsigned __int128 Unsigned;
    using Wide = std::conditional_t<std::is_signed_v<T>, Signed, Unsigned>;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> (sizeof(T) * 8));
  }
};
struct Div {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return static_cast<T>(~T{0});
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return Sub{}(T{0}, a);
      }
    }
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a)) return b;
      if (std::isnan(b)) return a;
      if (a == b) return std::signbit(a) ? a : b;
    }
    return a < b ? a : b;
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a)) return b;
      if (std::isnan(b)) return a;
      if (a == b) return std::signbit(a) ? b : a;
    }
    return a > b ? a : b;
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct Neg {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return Sub{}(T{0}, a);
    return -a;
  }
};
struct Abs {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(a);
    return a < 0 ? Neg{}(a) : a;
  }
};
struct Fma {
  template <class T>
  T operator()(T a, T b, T c) const {
    return std::fma(a, b, c);
  }
};
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return T{1} / a;
  }
};
struct ReciprocalRoot {
  float operator()(float a) const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a))); }
};
struct Root {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct Exp2 {
  float operator()(float a) const { return std::exp2(a); }
};
struct Log2 {
  float operator()(float a) const { return std::log2(a); }
};
struct Reverse {
  std::uint32_t operator()(std::uint32_t a) const {
    std::uint32_t reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= (a >> bit & 1U) << (31 - bit);
    return reversed;
  }
};

// fma.rm: towards minus infinity.
bool fma_down(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const int before = std::fegetround();
  std::fesetround(FE_DOWNWARD);
  auto* to = warp.slots<std::uint32_t>(in.to);
  each(lanes, [&](int i) {
    volatile float a = std::bit_cast<float>(warp.slots<std::uint32_t>(in.from[0])[i]);
    volatile float b = std::bit_cast<float>(warp.slots<std::uint32_t>(in.from[1])[i]);
    volatile float c = std::bit_cast<float>(warp.slots<std::uint32_t>(in.from[2])[i]);
    volatile float sum = std::fma(a, b, c);
    to[i] = std::bit_cast<std::uint32_t>(static_cast<float>(sum));
  });
  std::fesetround(before);
  return true;
}

// Two 16-bit floats in one register.
template <class Half>
bool fma_pair(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  auto* to = warp.slots<std::uint32_t>(in.to);
  const auto* a = warp.slots<std::uint32_t>(in.from[0]);
  const auto* b = warp.slots<std::uint32_t>(in.from[1]);
  const auto* c = warp.slots<std::uint32_t>(in.from[2]);
  each(lanes, [&](int i) {
    std::uint32_t both = 0;
    for (int shift = 0; shift < 32; shift += 16) {
      const auto part = [&](std::uint32_t bits) {
        return Half::widen(static_cast<std::uint16_t>(bits >> shift));
      };
      // All but exact in double: the products are.
      const double sum = static_cast<double>(part(a[i])) * part(b[i]) + part(c[i]);
      both |= static_cast<std::uint32_t>(Half::round(sum)) << shift;
    }
    to[i] = both;
  });
  return true;
}

template <class T>
bool mul_wide(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  using Wide = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
  const auto* a = warp.slots<std::uint32_t>(in.from[0]);
  const auto* b = warp.slots<std::uint32_t>(in.from[1]);
  each(lanes, [&](int i) {
    warp.set(in.to, i, static_cast<std::uint64_t>(Wide{static_cast<T>(a[i])} * Wide{static_cast<T>(b[i])}));
  });
  return true;
}

// Shifts by more than there are bits shift everything out.
template <class T, bool kLeft>
bool shift(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  constexpr std::uint32_t kBits = sizeof(T) * 8;
  auto* to = warp.slots<Slot<T>>(in.to);
  const auto* a = warp.slots<Slot<T>>(in.from[0]);
  const auto* b = warp.slots<std::uint32_t>(in.from[1]);
  each(lanes, [&](int i) {
    const T value = unpack<T>(a[i]);
    const std::uint32_t by = b[i];
    if constexpr (kLeft) {
      to[i] = pack<T>(by >= kBits ? T{0} : static_cast<T>(static_cast<Bits<T>>(value) << by));
    } else {
      to[i] = pack<T>(static_cast<T>(by >= kBits ? (value < 0 ? T(-1) : T(0)) : static_cast<T>(value >> by)));
    }
  });
  return true;
}

bool funnel_left(Warp& warp, const Instruction& in, std::uint32_t lanes) {  // shf.l.wrap
  each(lanes, [&](int i) {
    const std::uint64_t both = warp.value(in.from[1], i) << 32 | warp.value(in.from[0], i);
    warp.set(in.to, i, both << (warp.value(in.from[2], i) & 31) >> 32);
  });
  return true;
}
bool funnel_right(Warp& warp, const Instruction& in, std::uint32_t lanes) {  // shf.r.wrap
  each(lanes, [&](int i) {
    const std::uint64_t both = warp.value(in.from[1], i) << 32 | warp.value(in.from[0], i);
    warp.set(in.to, i, both >> (warp.value(in.from[2], i) & 31));
  });
  return true;
}

bool permute(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::uint64_t bytes = warp.value(in.from[1], i) << 32 | warp.value(in.from[0], i);
    const std::uint64_t selector = warp.value(in.from[2], i);
    std::uint32_t made = 0;
    for (int k = 0; k < 4; ++k) {
      const auto choice = static_cast<std::uint32_t>(selector >> (4 * k)) & 0xf;
      auto byte = static_cast<std::uint32_t>(bytes >> (8 * (choice & 7))) & 0xff;
      if ((choice & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
      made |= byte << (8 * k);
    }
    warp.set(in.to, i, made);
  });
  return true;
}

template <class T>
bool insert_bits(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  constexpr std::uint64_t kBits = sizeof(T) * 8;
  each(lanes, [&](int i) {
    const auto a = static_cast<T>(warp.value(in.from[0], i)), b = static_cast<T>(warp.value(in.from[1], i));
    const std::uint64_t at = warp.value(in.from[2], i) & 0xff, count = warp.value(in.from[3], i) & 0xff;
    T mask = 0;
    for (std::uint64_t bit = at; bit < at + count && bit < kBits; ++bit) mask |= T{1} << bit;
    warp.set(in.to, i, (b & ~mask) | (at < kBits ? (a << at) & mask : 0));
  });
  return true;
}

template <class T>
bool extract_bits(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  constexpr std::uint64_t kBits = sizeof(T) * 8;
  each(lanes, [&](int i) {
    const auto a = static_cast<std::uint64_t>(static_cast<Bits<T>>(warp.value(in.from[0], i)));
    const std::uint64_t at = warp.value(in.from[1], i) & 0xff, count = warp.value(in.from[2], i) & 0xff;
    std::uint64_t made = 0;
    const bool negative =
        std::is_signed_v<T> && count > 0 && (a >> std::min(at + count - 1, kBits - 1) & 1) != 0;
    for (std::uint64_t bit = 0; bit < kBits; ++bit) {
      const bool set = bit < count && at + bit < kBits ? (a >> (at + bit) & 1) != 0 : negative;
      made |= static_cast<std::uint64_t>(set) << bit;
    }
    warp.set(in.to, i, made);
  });
  return true;
}

template <bool kShiftAmount>
bool find_bit(Warp& warp, const Instruction& in, std::uint32_t lanes) {  // bfind.u32
  each(lanes, [&](int i) {
    const auto a = static_cast<std::uint32_t>(warp.value(in.from[0], i));
    const auto zeros = static_cast<std::uint32_t>(std::countl_zero(a));
    warp.set(in.to, i, a == 0 ? 0xffffffffU : kShiftAmount ? zeros : 31 - zeros);
  });
  return true;
}

template <class T>
bool count_bits(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    warp.set(in.to, i, static_cast<std::uint64_t>(std::popcount(static_cast<T>(warp.value(in.from[0], i)))));
  });
  return true;
}
template <class T>
bool leading_zeros(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    warp.set(in.to, i,
             static_cast<std::uint64_t>(std::countl_zero(static_cast<T>(warp.value(in.from[0], i)))));
  });
  return true;
}

// --- Tables
// ----------------------------------------------------------------------------------------------------

template <class Do>
Run for_integers(const std::string& type) {
  if (type == "s16") return binary<std::int16_t, Do>;
  if (type == "u16" || type == "b16") return binary<std::uint16_t, Do>;
  if (type == "s32") return binary<std::int32_t, Do>;
  if (type == "u32" || type == "b32") return binary<std::uint32_t, Do>;
  if (type == "s64") return binary<std::int64_t, Do>;
  if (type == "u64" || type == "b64") return binary<std::uint64_t, Do>;
  return nullptr;
}
template <class Do>
Run for_reals(const std::string& type) {
  if (type == "f32") return binary<float, Do>;
  if (type == "f64") return binary<double, Do>;
  return nullptr;
}
template <class Do>
Run for_numbers(const std::string& type) {
  const Run run = for_reals<Do>(type);
  return run != nullptr ? run : for_integers<Do>(type);
}
template <class Do>
Run for_one_integer(const std::string& type) {
  if (type == "s16") return unary<std::int16_t, Do>;
  if (type == "b16") return unary<std::uint16_t, Do>;
  if (type == "s32") return unary<std::int32_t, Do>;
  if (type == "b32") return unary<std::uint32_t, Do>;
  if (type == "s64") return unary<std::int64_t, Do>;
  if (type == "b64") return unary<std::uint64_t, Do>;
  return nullptr;
}
template <class Do>
Run for_one(const std::string& type) {
  if (type == "f32") return unary<float, Do>;
  if (type == "f64") return unary<double, Do>;
  return for_one_integer<Do>(type);
}

// Roundings that are not the nearest change results: only where they are known here.
bool odd_rounding(const Opcode& opcode) {
  return opcode.has("rz") || opcode.has("rm") || opcode.has("rp") || opcode.has("sat");
}

Run choose_bits(const Opcode& opcode) {
  const std::string& name = opcode.name();
  const std::string& type = opcode.type();
  if (name == "shl") {
    if (type == "b16") return shift<std::uint16_t, true>;
    return type == "b32" ? shift<std::uint32_t, true> : shift<std::uint64_t, true>;
  }
  if (name == "shr") {
    if (type == "s16") return shift<std::int16_t, false>;
    if (type == "s32") return shift<std::int32_t, false>;
    if (type == "s64") return shift<std::int64_t, false>;
    if (type.ends_with("16")) return shift<std::uint16_t, false>;
    return type.ends_with("32") ? shift<std::uint32_t, false> : shift<std::uint64_t, false>;
  }
  if (name == "shf" && opcode.has("wrap")) return opcode.has("l") ? funnel_left : funnel_right;
  if (name == "prmt" && opcode.parts.size() == 2) return permute;
  if (name == "bfi") return type == "b32" ? insert_bits<std::uint32_t> : insert_bits<std::uint64_t>;
  if (name == "bfe") {
    if (type == "u32") return extract_bits<std::uint32_t>;
    if (type == "s32") return extract_bits<std::int32_t>;
    return type == "u64" ? extract_bits<std::uint64_t> : extract_bits<std::int64_t>;
  }
  if (name == "bfind" && type == "u32") return opcode.has("shiftamt") ? find_bit<true> : find_bit<false>;
  if (name == "popc") return type == "b32" ? count_bits<std::uint32_t> : count_bits<std::uint64_t>;
  if (name == "clz") return type == "b32" ? leading_zeros<std::uint32_t> : leading_zeros<std::uint64_t>;
  return nullptr;
}

Run choose_run(const Opcode& opcode) {
  const std::string& name = opcode.name();
  const std::string& type = opcode.type();
  if (name == "fma" && opcode.has("rm") && type == "f32") return fma_down;
  if (odd_rounding(opcode) || opcode.has("NaN") || opcode.has("relu") || opcode.has("xorsign"))
    return nullptr;
  if (name == "add") return for_numbers<Add>(type);
  if (name == "sub") return for_numbers<Sub>(type);
  if (name == "mul") {
    if (opcode.has("wide"))
      return type == "s32" ? mul_wide<std::int32_t> : type == "u32" ? mul_wide<std::uint32_t> : nullptr;
    return opcode.has("hi") ? for_integers<MulHigh>(type) : for_numbers<Mul>(type);
  }
  if (name == "mad" && opcode.has("lo")) {
    if (type.ends_with("32")) return ternary<std::uint32_t, MulAdd>;
    return type.ends_with("64") ? ternary<std::uint64_t, MulAdd> : nullptr;
  }
  if (name == "fma") {
    if (type == "f32") return ternary<float, Fma>;
    if (type == "f64") return ternary<double, Fma>;
    if (type == "f16x2") return fma_pair<Half16>;
    return type == "bf16x2" ? fma_pair<Brain16> : nullptr;
  }
  if (name == "div") return for_numbers<Div>(type);
  if (name == "rem") return for_integers<Rem>(type);
  if (name == "min") return for_numbers<Min>(type);
  if (name == "max") return for_numbers<Max>(type);
  if (name == "and") return for_integers<And>(type);
  if (name == "or") return for_integers<Or>(type);
  if (name == "xor") return for_integers<Xor>(type);
  if (name == "not") return for_one_integer<Not>(type);
  if (name == "neg") return for_one<Neg>(type);
  if (name == "abs") return for_one<Abs>(type);
  if (name == "rcp") return type == "f32" ? unary<float, Reciprocal> : unary<double, Reciprocal>;
  if (name == "rsqrt" && type == "f32") return unary<float, ReciprocalRoot>;
  if (name == "sqrt") return type == "f32" ? unary<float, Root> : unary<double, Root>;
  if (name == "ex2" && type == "f32") return unary<float, Exp2>;
  if (name == "lg2" && type == "f32") return unary<float, Log2>;
  if (name == "brev" && type == "b32") return unary<std::uint32_t, Reverse>;
  return choose_bits(opcode);
}

}  // namespace

Choice choose_arithmetic(const Opcode& opcode) {
  Choice choice;
  if (opcode.type() == "pred") return choice;
  choice.run = choose_run(opcode);
  if (!choice) return choice;
  const std::uint8_t width = opcode.has("wide") ? 4 : lane_bytes(opcode.type());
  choice.widths = {width, width, width, width};
  const std::string& name = opcode.name();
  if (name == "shl" || name == "shr") choice.widths[1] = 4;
  if (name == "bfi") choice.widths[2] = choice.widths[3] = 4;
  if (name == "bfe") choice.widths[1] = choice.widths[2] = 4;
  return choice;
}

}  // namespace baton::emulator
