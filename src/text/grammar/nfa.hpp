// One rule of a grammar as a nondeterministic automaton (Thompson's construction), which the deterministic
// one is made from.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/grammar/syntax.hpp"
#include "text/grammar/utf8_ranges.hpp"

namespace baton::text {

struct NfaState {
  struct Byte {
    ByteRange bytes;
    std::uint32_t target;
  };
  struct Call {
    RuleId rule;
    std::uint32_t target;
  };
  std::vector<Byte> bytes;
  std::vector<Call> calls;
  std::vector<std::uint32_t> empty;  // edges that take nothing
};

struct Nfa {
  std::vector<NfaState> states;
  std::uint32_t start = 0, end = 0;
};

// What stands where a rule is named: a call of it, or, where it is small and has no loops, the rule itself.
// Characters and white space are such rules: with them inside, an automaton sees whole tokens.
class NfaBuilder {
 public:
  explicit NfaBuilder(const Syntax& syntax, std::size_t most_states);

  // Nothing where it would have too many states. Repetitions of what is not small are calls of rules that are
  // added: `rules()` grows.
  std::optional<Nfa> build(RuleId rule);
  std::size_t rules() const { return rules_.size(); }

 private:
  static constexpr std::uint64_t kEndless = UINT64_MAX;

  std::uint64_t size_of(ExpressionId id, int depth);
  std::uint64_t size_of_rule(RuleId rule, int depth);
  bool small(std::uint64_t size) const;

  std::uint32_t state();
  void add(ExpressionId id, std::uint32_t from, std::uint32_t to);
  void add_bytes(const std::string& bytes, std::uint32_t from, std::uint32_t to);
  void add_set(const Expression& set, std::uint32_t from, std::uint32_t to);
  void add_sequence(const Expression& sequence, std::uint32_t from, std::uint32_t to);
  void add_repeat(const Expression& repeat, std::uint32_t from, std::uint32_t to);
  void add_part(const Expression& repeat, std::uint32_t from, std::uint32_t to);
  void call(RuleId rule, std::uint32_t from, std::uint32_t to);

  const Syntax& syntax_;
  const std::size_t most_states_;
  std::vector<ExpressionId> rules_;  // the grammar's and those that were added
  enum class Known : std::uint8_t { no, asking, yes };
  std::vector<Known> known_;               // by rule of the grammar: whether its size is
  std::vector<std::uint64_t> sizes_;       // by rule of the grammar
  std::vector<std::uint64_t> part_sizes_;  // by expression; 0: not measured yet
  std::vector<std::uint32_t> part_rules_;  // by expression: the rule that was added for it, plus one
  Nfa nfa_;
  bool full_ = false;
};

}  // namespace baton::text
