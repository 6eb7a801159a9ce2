// Element types and devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace baton {

enum class DType : std::uint8_t { f32, f16, bf16, i32, e4m3 };  // e4m3: fp8, finite up to 448

constexpr std::size_t size_of(DType type) {
  return type == DType::f32 || type == DType::i32 ? 4 : type == DType::e4m3 ? 1 : 2;
}
std::string_view to_string(DType type);

enum class DeviceKind : std::uint8_t { cpu, cuda };
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

}  // namespace baton
