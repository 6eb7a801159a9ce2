// The tree of a parsed template: expressions and statements. Immutable after parsing; shared by all renders.
//
// Invariant: no tree is deeper than kMaxTreeDepth, so recursion over it (evaluation, destruction) has a
// bound.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.hpp"

namespace baton::text::jinja {

inline constexpr int kMaxTreeDepth = 200;

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

// Which members are used, by kind:
struct Expression {
  enum class Kind : std::uint8_t {
    literal,      // value
    name,         // text
    list,         // children
    tuple,        // children
    dict,         // children: key, value, key, value, ...
    attribute,    // children: object; text: the name
    item,         // children: object, key
    slice,        // children: object, begin, end, step; each of the last three may be null
    call,         // children: callee, positional arguments; named
    filter,       // text: the name; children: input (null in a filter block), positional arguments; named
    test,         // like filter
    logical_not,  // children: operand
    negate,
    plus,
    binary,       // text: the operator; children: two
    concat,       // children: all operands of ~
    compare,      // children: operands; operators: one fewer
    logical_and,  // children: two
    logical_or,
    conditional,  // children: condition, value, alternative (may be null)
  };
  Kind kind = Kind::literal;
  int line = 0;
  int depth = 1;
  std::string text;
  Value value;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
};

struct Statement;
using Block = std::vector<std::unique_ptr<const Statement>>;

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // may be null
};

struct Statement {
  enum class Kind : std::uint8_t {
    text,          // text
    output,        // expression
    if_else,       // branches: condition (null for else) and body
    for_loop,      // target, expression: what to iterate, condition: the filter or null; body; otherwise
    assign,        // target, expression
    assign_block,  // target, expression: a filter chain over the body, or null; body
    macro,         // text: its name; parameters; body
    call_block,    // expression: the call; parameters: the caller's; body
    filter_block,  // expression: the filter chain; body
    with,          // assignments; body
    scope,         // body, in a scope of its own (generation, block)
    break_loop,
    continue_loop,
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text;
  ExpressionPtr target;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  std::vector<Parameter> parameters;
  bool takes_rest = false;  // the body of a macro speaks of varargs or kwargs
  Block body;
  Block otherwise;
};

}  // namespace baton::text::jinja
