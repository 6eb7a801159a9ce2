// Regular expressions in the notation of grammars, as plain text or as the inside of a JSON string.
#pragma once

#include <string>

#include "baton/text/grammar_text.hpp"
#include "text/grammar_text/regex_tree.hpp"

namespace baton::text {

enum class Spelling { plain, json };

// An expression for the texts that match `node`, which has no anchors. Long classes become rules of `out`.
std::string write_regex(GrammarText& out, const RegexNode& node, Spelling spelling);

}  // namespace baton::text
