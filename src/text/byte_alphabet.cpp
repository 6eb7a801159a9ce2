#include "text/byte_alphabet.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kLast = 0x100 + 68;

constexpr bool prints(unsigned b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; }

constexpr std::array<char16_t, 256> kCharacters = [] {
  std::array<char16_t, 256> table{};
  char16_t next = 0x100;
  for (unsigned b = 0; b < 256; ++b) table[b] = prints(b) ? static_cast<char16_t>(b) : next++;
  return table;
}();

constexpr std::array<std::int16_t, kLast> kBytes = [] {
  std::array<std::int16_t, kLast> table{};
  for (auto& entry : table) entry = -1;
  for (unsigned b = 0; b < 256; ++b) table[kCharacters[b]] = static_cast<std::int16_t>(b);
  return table;
}();

}  // namespace

char32_t byte_to_character(unsigned char byte) { return kCharacters[byte]; }

int character_to_byte(char32_t character) { return character < kLast ? kBytes[character] : -1; }

std::optional<std::string> alphabet_to_bytes(std::string_view spelled) {
  std::string bytes;
  bytes.reserve(spelled.size());
  for (std::size_t i = 0; i < spelled.size();) {
    const CodePoint c = code_point_at(spelled, i);
    const int byte = character_to_byte(c.value);
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    i += c.length;
  }
  return bytes;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string spelled;
  spelled.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_utf8(byte_to_character(static_cast<unsigned char>(byte)), spelled);
  return spelled;
}

}  // namespace baton::text
