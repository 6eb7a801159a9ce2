// A regular expression as a tree: what the parser makes and the writer reads.
#pragma once

#include <cstddef>
#include <limits>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "text/grammar_text/char_class.hpp"

namespace baton::text {

inline constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
inline constexpr std::size_t kMaxRepeats = 65'536;  // what the notation can count

struct RegexNode {
  enum class Kind { chars, sequence, choice, repeat, begin, end };
  Kind kind = Kind::sequence;
  CharSet chars;                    // of `chars`: one character of these
  std::vector<RegexNode> children;  // of `sequence` and `choice`; one of `repeat`
  std::size_t least = 0;            // of `repeat`
  std::size_t most = 0;             // of `repeat`; may be kNoLimit
};

RegexNode regex_chars(CharSet chars);
RegexNode regex_repeat(RegexNode what, std::size_t least, std::size_t most);

// How many characters a match has. `most` may be kNoLimit.
struct RegexLength {
  std::size_t least = 0;
  std::size_t most = 0;
};
RegexLength regex_length(const RegexNode& node);

// invalid_argument, unsupported or too_large, with the character at which it stands. Groups are not nested
// deeper than kMaxRegexDepth.
inline constexpr int kMaxRegexDepth = 64;
inline constexpr std::size_t kMaxRegexSize = 64 << 10;  // bytes
Result<RegexNode> parse_regex(std::string_view pattern);

// The anchors' meaning made plain: no `begin` and `end` is left. `search`: a match may stand anywhere, so
// there is any text on the sides without an anchor. unsupported where an anchor stands in the middle.
Result<RegexNode> without_anchors(RegexNode node, bool search);

}  // namespace baton::text
