// A grammar's text (docs/grammar.md) as rules of expressions.
//
// Invariant of a Syntax: every index lies inside its vector, `root` is a rule, each rule is defined once, and
// no expression contains itself but through a rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "text/char_set.hpp"

namespace baton::text {

using ExpressionId = std::uint32_t;
using RuleId = std::uint32_t;

inline constexpr std::uint32_t kUnbounded = UINT32_MAX;

struct Expression {
  enum class Kind : std::uint8_t { bytes, set, sequence, choice, repeat, rule };
  Kind kind = Kind::bytes;
  std::string bytes = {};                // bytes
  CharSet characters = {};               // set: one of these
  std::vector<ExpressionId> parts = {};  // sequence, choice; of repeat one
  std::uint32_t least = 0, most = 0;     // repeat; most may be kUnbounded
  RuleId rule = 0;                       // rule
};

struct Syntax {
  std::vector<Expression> expressions;
  std::vector<ExpressionId> rules;  // what each rule stands for
  std::vector<std::string> names;   // of the rules
  RuleId root = 0;
};

// invalid_argument with the line; too_large beyond `most_bytes`.
Result<Syntax> parse_grammar(std::string_view text, std::size_t most_bytes);

}  // namespace baton::text
