// Which of a vocabulary's tokens may come next at a position.
#pragma once

#include <cstdint>
#include <optional>
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
  explicit TokenSet(std::span<const std::uint32_t> bits);
  void add_to(std::span<std::uint32_t> allowed) const;  // what lies beyond `allowed` is left out
  std::size_t bytes() const { return (few_.capacity() + bits_.capacity()) * sizeof(std::uint32_t); }

 private:
  std::vector<TokenId> few_;
  std::vector<std::uint32_t> bits_;
};

struct EntryRange {
  Entry begin = 0, end = 0;
};

// Judges tokens of a band in ascending order, from one position.
class TokenWalk {
 public:
  enum class Verdict : std::uint8_t {
    no,
    open,  // it runs out of the rule at the bottom: what lies below decides
    yes,
  };

  TokenWalk(const TokenBand& band, Walker& walker, Position from);
  Verdict judge(Entry entry);
  // The next entry that the same first bytes do not settle likewise.
  Entry next(Entry entry, Verdict verdict) const;

 private:
  const TokenBand& band_;
  Walker& walker_;
  std::vector<Positions> levels_;  // by bytes taken
  std::vector<bool> left_;         // by bytes taken: whether the bottom was returned to on the way
  std::string_view last_;
  std::size_t depth_ = 0;  // the last level that holds for last_
};

// What can be said of a band's tokens at a node without knowing what it was called from, or only that its
// rule returns to `back`.
struct BandMask {
  TokenSet yes;
  std::vector<EntryRange> open;
  Entry open_entries = 0;  // in all of `open`
  std::size_t work = 0;    // positions that were looked at
};
// Nothing where the credit does not suffice, or more readings come up than are followed. With a `back`,
// `among` are the entries that the node alone leaves open.
std::optional<BandMask> mask_of_band(const Automaton& automaton, const TokenBand& band,
                                     std::size_t vocabulary, Node node, std::size_t credit);
std::optional<BandMask> mask_of_band(const Automaton& automaton, const TokenBand& band,
                                     std::size_t vocabulary, Node node, Node back,
                                     std::span<const EntryRange> among, std::size_t credit);
// Of the tokens in `open`, those that may come at a position. Nothing that counts where the walker is lost.
void judge_open(const TokenBand& band, Walker& walker, Position position, std::span<const EntryRange> open,
                std::vector<TokenId>& out);

}  // namespace baton::text
