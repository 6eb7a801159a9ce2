// Text that comes byte by byte, as the inside of a JSON string.
#pragma once

#include <string>
#include <string_view>

namespace baton::text {

inline void append_json(std::string& out, char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kPlain = "\"\\\n\r\t", kNames = "\"\\nrt";
  const auto byte = static_cast<unsigned char>(c);
  if (const std::size_t named = kPlain.find(c); named != std::string_view::npos) {
    out += {'\\', kNames[named]};
  } else if (byte < 0x20) {
    out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
  } else {
    out += c;
  }
}

inline void append_json(std::string& out, std::string_view text) {
  for (const char c : text) append_json(out, c);
}

}  // namespace baton::text
