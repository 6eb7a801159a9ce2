// Tokens to a tree, by recursive descent in Jinja's own precedence.
#pragma once

#include <string_view>

#include "baton/base/result.hpp"
#include "text/jinja/ast.hpp"

namespace baton::text::jinja {

// invalid_argument with the line for a syntax error; unsupported for statements that chat templates have no
// use for (extends, include, import).
Result<Block> parse_template(std::string_view source);

}  // namespace baton::text::jinja
