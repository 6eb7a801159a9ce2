#include "text/grammar/nfa.hpp"

#include <algorithm>

namespace baton::text {
namespace {

constexpr std::uint64_t kSmall = 48;       // states of a rule that is written out where it is used
constexpr std::uint64_t kPart = 128;       // states of a repeated part that is written out, as characters are
constexpr std::uint64_t kParts = 1 << 16;  // states of all its copies
constexpr std::uint64_t kCopied = 2048;    // states of all copies of a repeated part that is not small
constexpr int kDepth = 500;                // of rules inside rules that are looked through

std::uint64_t plus(std::uint64_t a, std::uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

}  // namespace

NfaBuilder::NfaBuilder(const Syntax& syntax, std::size_t most_states)
    : syntax_(syntax),
      most_states_(most_states),
      rules_(syntax.rules),
      known_(syntax.rules.size(), Known::no),
      sizes_(syntax.rules.size(), kEndless),
      part_sizes_(syntax.expressions.size(), 0),
      part_rules_(syntax.expressions.size(), 0) {}

bool NfaBuilder::small(std::uint64_t size) const { return size <= kSmall; }

// States that writing it out takes; kEndless where it has loops or calls.
std::uint64_t NfaBuilder::size_of(ExpressionId id, int depth) {
  if (part_sizes_[id] != 0) return part_sizes_[id];
  const Expression& e = syntax_.expressions[id];
  std::uint64_t size = 1;
  switch (e.kind) {
    case Expression::Kind::bytes:
      size = e.bytes.size() + 1;
      break;
    case Expression::Kind::set: {
      std::vector<ByteSequence> sequences;
      for (const CharSet::Range& range : e.characters.ranges()) append_utf8_ranges(range, sequences);
      for (const ByteSequence& sequence : sequences) size += sequence.length - 1;
      break;
    }
    case Expression::Kind::sequence:
    case Expression::Kind::choice:
      for (const ExpressionId part : e.parts) size = plus(size, size_of(part, depth));
      break;
    case Expression::Kind::repeat:
      size = e.most == kUnbounded ? kEndless : plus(1, times(e.most, size_of(e.parts.front(), depth)));
      break;
    case Expression::Kind::rule: {
      const std::uint64_t inner = size_of_rule(e.rule, depth + 1);
      size = small(inner) ? inner : kEndless;
      // A rule that is being asked about just now is one that contains itself: never small, and known so.
      break;
    }
  }
  return part_sizes_[id] = size;
}

std::uint64_t NfaBuilder::size_of_rule(RuleId rule, int depth) {
  if (known_[rule] == Known::yes) return sizes_[rule];
  if (known_[rule] == Known::asking || depth > kDepth) return kEndless;
  known_[rule] = Known::asking;
  sizes_[rule] = size_of(syntax_.rules[rule], depth);
  known_[rule] = Known::yes;
  return sizes_[rule];
}

std::optional<Nfa> NfaBuilder::build(RuleId rule) {
  nfa_ = {};
  full_ = false;
  nfa_.start = state();
  nfa_.end = state();
  add(rules_[rule], nfa_.start, nfa_.end);
  if (full_) return std::nullopt;
  return std::move(nfa_);
}

std::uint32_t NfaBuilder::state() {
  if (nfa_.states.size() >= most_states_) full_ = true;
  if (!full_) nfa_.states.emplace_back();
  return static_cast<std::uint32_t>(nfa_.states.size() - 1);
}

void NfaBuilder::add(ExpressionId id, std::uint32_t from, std::uint32_t to) {
  if (full_) return;
  const Expression& e = syntax_.expressions[id];
  switch (e.kind) {
    case Expression::Kind::bytes:
      return add_bytes(e.bytes, from, to);
    case Expression::Kind::set:
      return add_set(e, from, to);
    case Expression::Kind::sequence:
      return add_sequence(e, from, to);
    case Expression::Kind::choice:
      for (const ExpressionId part : e.parts) add(part, from, to);
      return;
    case Expression::Kind::repeat:
      return add_repeat(e, from, to);
    case Expression::Kind::rule:
      if (small(size_of_rule(e.rule, 0))) return add(syntax_.rules[e.rule], from, to);
      return call(e.rule, from, to);
  }
}

void NfaBuilder::add_bytes(const std::string& bytes, std::uint32_t from, std::uint32_t to) {
  for (const char c : bytes) {
    const std::uint32_t next = state();
    const auto byte = static_cast<std::uint8_t>(c);
    nfa_.states[from].bytes.push_back({{byte, byte}, next});
    from = next;
  }
  nfa_.states[from].empty.push_back(to);
}

void NfaBuilder::add_set(const Expression& set, std::uint32_t from, std::uint32_t to) {
  std::vector<ByteSequence> sequences;
  for (const CharSet::Range& range : set.characters.ranges()) append_utf8_ranges(range, sequences);
  for (const ByteSequence& sequence : sequences) {
    std::uint32_t at = from;
    for (std::size_t i = 0; i < sequence.length; ++i) {
      const std::uint32_t next = i + 1 == sequence.length ? to : state();
      nfa_.states[at].bytes.push_back({sequence.bytes[i], next});
      at = next;
    }
  }
}

void NfaBuilder::add_sequence(const Expression& sequence, std::uint32_t from, std::uint32_t to) {
  for (std::size_t i = 0; i < sequence.parts.size(); ++i) {
    const std::uint32_t next = i + 1 == sequence.parts.size() ? to : state();
    add(sequence.parts[i], from, next);
    from = next;
  }
}

void NfaBuilder::add_repeat(const Expression& repeat, std::uint32_t from, std::uint32_t to) {
  for (std::uint32_t i = 0; i < repeat.least && !full_; ++i) {
    const std::uint32_t next = state();
    add_part(repeat, from, next);
    from = next;
  }
  if (repeat.most == kUnbounded) {
    // A state of its own on either side, so that nobody else's edges get into the loop.
    const std::uint32_t loop = state();
    nfa_.states[from].empty.push_back(loop);
    add_part(repeat, loop, loop);
    nfa_.states[loop].empty.push_back(to);
    return;
  }
  for (std::uint32_t i = repeat.least; i < repeat.most && !full_; ++i) {
    const std::uint32_t next = state();
    nfa_.states[from].empty.push_back(to);
    add_part(repeat, from, next);
    from = next;
  }
  nfa_.states[from].empty.push_back(to);
}

// Small parts are copied, so that tokens of several characters are seen; many copies of large ones are calls.
void NfaBuilder::add_part(const Expression& repeat, std::uint32_t from, std::uint32_t to) {
  ExpressionId part = repeat.parts.front();
  const bool named = syntax_.expressions[part].kind == Expression::Kind::rule;
  const std::uint64_t copies = repeat.most == kUnbounded ? repeat.least + std::uint64_t{1} : repeat.most;
  const std::uint64_t size = named ? size_of_rule(syntax_.expressions[part].rule, 0) : size_of(part, 0);
  if (size <= kPart && size * copies <= kParts) {
    if (named) part = syntax_.rules[syntax_.expressions[part].rule];
    return add(part, from, to);
  }
  if (named) return call(syntax_.expressions[part].rule, from, to);
  const bool many = size == kEndless ? copies > kSmall : size * copies > kCopied;
  if (!many) return add(part, from, to);
  if (part_rules_[part] == 0) {
    rules_.push_back(part);
    part_rules_[part] = static_cast<std::uint32_t>(rules_.size());
  }
  call(part_rules_[part] - 1, from, to);
}

void NfaBuilder::call(RuleId rule, std::uint32_t from, std::uint32_t to) {
  nfa_.states[from].calls.push_back({rule, to});
}

}  // namespace baton::text
