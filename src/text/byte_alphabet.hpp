// GPT-2's alphabet: one printable character for each byte, so that a vocabulary of bytes can be written as
// JSON strings.
//
// Bytes that print in Latin-1 stand for themselves; the other 68 are U+0100 and up in order (Radford et al.
// 2019, encoder.py). Inside Baton a byte-level vocabulary holds raw bytes; this alphabet is met only where
// tokenizer.json is read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace baton::text {

char32_t byte_to_character(unsigned char byte);
int character_to_byte(char32_t character);  // -1 where the character is not of the alphabet

// "Ġthe" to " the"; nothing where a character is not of the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view spelled);
std::string bytes_to_alphabet(std::string_view bytes);

}  // namespace baton::text
