// Loads, stores, atomics; and what has no effect that can be seen here.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "machine.hpp"

namespace baton::emulator {

namespace {

std::uint64_t address_of(Warp& warp, const Instruction& in, int lane) {
  return warp.value(in.from[0], lane) + static_cast<std::uint64_t>(in.offset);
}

template <class T>
std::uint64_t widened(T value) {
  if constexpr (std::is_signed_v<T>) return static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
  return static_cast<std::uint64_t>(value);
}

template <class T, int kCount>
bool load(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    const std::byte* from = warp.pointer(in, address_of(warp, in, i), sizeof(T) * kCount, i, false);
    T values[kCount];
    std::memcpy(values, from, sizeof(values));
    if constexpr (kCount == 1) {
      warp.set(in.to, i, widened(values[0]));
    } else {
      for (int k = 0; k < kCount; ++k) warp.set(in.list[static_cast<std::size_t>(k)], i, widened(values[k]));
    }
  });
  return true;
}

template <class T, int kCount>
bool store(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    T values[kCount];
    for (int k = 0; k < kCount; ++k)
      values[k] =
          static_cast<T>(warp.value(kCount == 1 ? in.from[1] : in.list[static_cast<std::size_t>(k)], i));
    std::memcpy(warp.pointer(in, address_of(warp, in, i), sizeof(values), i, true), values, sizeof(values));
  });
  return true;
}

template <class T>
Run access(bool loads, int count) {
  if (loads) return count == 1 ? load<T, 1> : count == 2 ? load<T, 2> : load<T, 4>;
  return count == 1 ? store<T, 1> : count == 2 ? store<T, 2> : store<T, 4>;
}

// With what kernels on other GPUs, in other threads of the host, do. Fences of the GPU do nothing here: the
// host's order stands for them.
bool load_acquire(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    std::byte* from = warp.pointer(in, address_of(warp, in, i), sizeof(std::uint32_t), i, false);
    warp.set(in.to, i, __atomic_load_n(reinterpret_cast<std::uint32_t*>(from), __ATOMIC_ACQUIRE));
  });
  return true;
}
bool store_release(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) {
    std::byte* to = warp.pointer(in, address_of(warp, in, i), sizeof(std::uint32_t), i, true);
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(to),
                     static_cast<std::uint32_t>(warp.value(in.from[1], i)), __ATOMIC_RELEASE);
  });
  return true;
}

Run choose_access(const Opcode& opcode) {
  const bool loads = opcode.name() == "ld";
  if (opcode.has("acquire") || opcode.has("release"))
    return type_bytes(opcode.type()) == 4 ? (loads ? load_acquire : store_release) : nullptr;
  const int count = opcode.has("v2") ? 2 : opcode.has("v4") ? 4 : 1;
  const std::string& type = opcode.type();
  if (opcode.has("v8") || type == "b128") return nullptr;
  switch (type_bytes(type)) {
    case 1:
      return type_signed(type) ? access<std::int8_t>(loads, count) : access<std::uint8_t>(loads, count);
    case 2:
      return type_signed(type) ? access<std::int16_t>(loads, count) : access<std::uint16_t>(loads, count);
    case 4:
      return type_signed(type) ? access<std::int32_t>(loads, count) : access<std::uint32_t>(loads, count);
    default:
      return access<std::uint64_t>(loads, count);
  }
}

// Blocks on several processors: one atomic at a time, which orders what they wrote before, too.
std::mutex& atomics() {
  static std::mutex mutex;
  return mutex;
}

enum class Atomic { add, min, max, exchange, compare, bit_or, bit_and };

template <class T, Atomic kHow, bool kResult>
bool atomic(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  const std::lock_guard lock(atomics());
  each(lanes, [&](int i) {
    const std::uint64_t address = address_of(warp, in, i);
    std::byte* place = warp.pointer(in, address, sizeof(T), i, true, false);
    if (in.space == Space::shared)
      warp.check_race(warp.block, static_cast<std::uint32_t>(address), sizeof(T), Access::atomic, warp.clock,
                      in);
    T before;
    std::memcpy(&before, place, sizeof(T));
    const auto operand = [&](std::size_t which) {
      const std::uint64_t bits = warp.value(in.from[which], i);
      if constexpr (std::is_same_v<T, float>)
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      else
        return static_cast<T>(bits);
    };
    T after = before;
    if constexpr (kHow == Atomic::add) after = static_cast<T>(before + operand(1));
    if constexpr (kHow == Atomic::min) after = std::min(before, operand(1));
    if constexpr (kHow == Atomic::max) after = std::max(before, operand(1));
    if constexpr (kHow == Atomic::exchange) after = operand(1);
    if constexpr (kHow == Atomic::compare) after = before == operand(1) ? operand(2) : before;
    if constexpr (std::is_integral_v<T>) {
      if constexpr (kHow == Atomic::bit_or) after = before | operand(1);
      if constexpr (kHow == Atomic::bit_and) after = before & operand(1);
    }
    std::memcpy(place, &after, sizeof(T));
    if (!kResult) return;
    if constexpr (std::is_same_v<T, float>) {
      warp.set(in.to, i, std::bit_cast<std::uint32_t>(before));
    } else {
      warp.set(in.to, i, widened(before));
    }
  });
  return true;
}

template <Atomic kHow, bool kResult>
Run atomic_of(const std::string& type) {
  if (type == "f32" && kHow == Atomic::add) return atomic<float, Atomic::add, kResult>;
  if (type == "s32") return atomic<std::int32_t, kHow, kResult>;
  if (type == "u32" || type == "b32") return atomic<std::uint32_t, kHow, kResult>;
  if (type == "s64") return atomic<std::int64_t, kHow, kResult>;
  if (type == "u64" || type == "b64") return atomic<std::uint64_t, kHow, kResult>;
  return nullptr;
}

template <bool kResult>
Run choose_atomic(const Opcode& opcode) {
  const std::string& type = opcode.type();
  if (opcode.has("add")) return atomic_of<Atomic::add, kResult>(type);
  if (opcode.has("min")) return atomic_of<Atomic::min, kResult>(type);
  if (opcode.has("max")) return atomic_of<Atomic::max, kResult>(type);
  if (opcode.has("exch")) return atomic_of<Atomic::exchange, kResult>(type);
  if (opcode.has("cas")) return atomic_of<Atomic::compare, kResult>(type);
  if (opcode.has("or")) return atomic_of<Atomic::bit_or, kResult>(type);
  if (opcode.has("and")) return atomic_of<Atomic::bit_and, kResult>(type);
  return nullptr;
}

bool wait_for_grid(Warp& warp, const Instruction&, std::uint32_t) {
  warp.waited = true;
  return true;
}

// The cache policies are hints, too; zero is one.
bool no_policy(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  each(lanes, [&](int i) { warp.set(in.to, i, 0); });
  return true;
}

// Whoever sleeps waits for a kernel on another GPU, which needs the host's processors.
bool sleep(Warp&, const Instruction&, std::uint32_t) {
  std::this_thread::sleep_for(std::chrono::microseconds(20));
  return true;
}

bool trap(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  warp.fault(in, std::countr_zero(lanes), "a trap");
}

}  // namespace

Choice choose_memory(const Opcode& opcode) {
  Choice choice;
  const std::string& name = opcode.name();
  const std::uint8_t width = lane_bytes(opcode.type());
  choice.widths = {8, width, width, width};
  if (name == "ld" || name == "st") {
    choice.run = choose_access(opcode);
    choice.has_result = name == "ld";
  } else if (name == "atom") {
    choice.run = choose_atomic<true>(opcode);
  } else if (name == "red") {
    choice.run = choose_atomic<false>(opcode);
    choice.has_result = false;
  } else if (name == "griddepcontrol" && opcode.has("wait")) {
    choice.run = wait_for_grid;
    choice.has_result = false;
  } else if (name == "fence" || name == "membar" || name == "griddepcontrol" || name == "setmaxnreg" ||
             name == "discard" || name == "prefetch" || name == "prefetchu") {
    choice.run = nothing;
    choice.has_result = false;
  } else if (name == "nanosleep") {
    choice.run = sleep;
    choice.has_result = false;
  } else if (name == "createpolicy") {
    choice.run = no_policy;
  } else if (name == "trap") {
    choice.run = trap;
    choice.has_result = false;
  }
  return choice;
}

}  // namespace baton::emulator
