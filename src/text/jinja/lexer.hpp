// A template's source to tokens, with Jinja's whitespace control (trim_blocks and lstrip_blocks on, as
// Hugging Face sets them).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"

namespace baton::text::jinja {

enum class TokenKind : std::uint8_t {
  data,            // text outside of tags; never empty
  block_begin,     // {%
  block_end,       // %}
  variable_begin,  // {{
  variable_end,    // }}
  name,
  string,  // unescaped
  integer,
  floating,
  op,  // any operator or bracket, by its spelling
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
};

// invalid_argument with the line for what no token is. The last token is `end`.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace baton::text::jinja
