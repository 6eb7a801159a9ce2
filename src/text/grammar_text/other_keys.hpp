// Keys of an object that are none of the declared ones: what additionalProperties is about.
#pragma once

#include <string>
#include <vector>

#include "baton/text/grammar_text.hpp"

namespace baton::text {

// An expression for any JSON string, in its shortest spelling, but those.
std::string other_keys(GrammarText& out, const std::vector<std::string>& declared);

}  // namespace baton::text
