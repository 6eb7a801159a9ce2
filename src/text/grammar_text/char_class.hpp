// How a grammar writes sets of characters: as themselves, or as they stand inside a JSON string.
#pragma once

#include <string>

#include "text/char_set.hpp"

namespace baton::text {

// The shortest spelling of one character inside a JSON string: itself, \" \\ \n or \u001F.
std::string json_spelling(char32_t character);

// An expression for one character of the set; "" where it is empty. Within a JSON string each character has
// just its shortest spelling.
std::string plain_class(const CharSet& set);
std::string json_class(const CharSet& set);

}  // namespace baton::text
