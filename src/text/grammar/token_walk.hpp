// Which of a vocabulary's tokens may come next at a position.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/grammar/token_index.hpp"
#include "text/grammar/walk.hpp"

namespace baton::text {

// Tokens, as a list or, where there are many, as bits.
class TokenSet {
 public:
  TokenSet() = default;
  TokenSet(std::vector<TokenId> tokens, std::size_t vocabulary);
  void add_to(std::span<std::uint32_t> allowed) const;  // what lies beyond `allowed` is left out
  std::size_t bytes() const { return (few_.capacity() + bits_.capacity()) * sizeof(std::uint32_t); }

 private:
  std::vector<TokenId> few_;
  std::vector<std::uint32_t> bits_;
};

struct EntryRange {
  Entry begin = 0, end = 0;
};

// Judges tokens in ascending order, from one position.
class TokenWalk {
 public:
  enum class Verdict : std::uint8_t {
    no,
    open,  // it runs out of the rule at the bottom: what lies below decides
    yes,
  };

  TokenWalk(const TokenIndex& index, Walker& walker, Position from);
  Verdict judge(Entry entry);
  // The next entry that the same first bytes do not settle likewise.
  Entry next(Entry entry, Verdict verdict) const;

 private:
  const TokenIndex& index_;
  Walker& walker_;
  std::vector<Positions> levels_;  // by bytes taken
  std::vector<bool> left_;         // by bytes taken: whether the bottom was returned to on the way
  std::string_view last_;
  std::size_t depth_ = 0;  // the last level that holds for last_
};

// What can be said of a node without knowing what it was called from.
struct NodeMask {
  TokenSet yes;
  std::vector<EntryRange> open;
};
// Nothing that counts where the walker is lost.
NodeMask mask_of_node(const Automaton& automaton, const TokenIndex& index, Walker& walker, Node node);
// Of the tokens in `open`, those that may come at a position. Likewise.
void judge_open(const TokenIndex& index, Walker& walker, Position position, std::span<const EntryRange> open,
                std::vector<TokenId>& out);

}  // namespace baton::text
