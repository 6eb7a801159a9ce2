// Fuzzes the safetensors header: whatever the bytes, parsing ends, and every range that it accepts lies in
// the file and overlaps no other.
#include <cstdlib>

#include "model/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto entries = baton::parse_safetensors(file, "fuzz");
  if (!entries) {
    if (entries.error().message.empty()) std::abort();
    return 0;
  }
  std::uint64_t end = 8;
  for (const baton::SafetensorsEntry& entry : *entries) {
    if (entry.begin < end || entry.end < entry.begin || entry.end > size) std::abort();
    end = entry.end;
  }
  return 0;
}
