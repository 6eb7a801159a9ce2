// The formats of JSON Schema that say something about each character, as regular expressions.
#pragma once

#include <string_view>

#include "text/grammar_text/regex_tree.hpp"

namespace baton::text {

// Null for formats that are not known. Without anchors.
const RegexNode* string_format(std::string_view name);

}  // namespace baton::text
