// The one-character parts of a regular expression: escapes, shorthands, bracketed classes.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "baton/base/result.hpp"
#include "text/grammar_text/char_class.hpp"

namespace baton::text {

// A pattern and a place in it. Invariant: the pattern is valid UTF-8 and the place is between code points.
struct RegexCursor {
  std::string_view pattern;
  std::size_t at = 0;

  bool done() const { return at >= pattern.size(); }
  bool ahead(std::string_view text) const { return pattern.substr(at).starts_with(text); }
  bool take(std::string_view text);
  char32_t next();  // the code point here, which is passed; not at the end
  // "character 7: " and what is wrong there.
  Error wrong(ErrorCode code, std::string_view problem, std::size_t place) const;
  Error wrong(ErrorCode code, std::string_view problem) const { return wrong(code, problem, at); }
};

// `.`: ECMA-262's, which leaves out all four line ends.
CharSet regex_dot();
// After the backslash: \d, \n, \x41, \u0041, \.; `in_class`: between brackets, where \b is a backspace.
Result<CharSet> parse_regex_escape(RegexCursor& cursor, bool in_class);
// After the opening bracket.
Result<CharSet> parse_regex_class(RegexCursor& cursor);

}  // namespace baton::text
