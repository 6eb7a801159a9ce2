// Where a text stands in an automaton: a set of positions, each a node and what is called from where.
//
// Frames are interned, so that equal stacks have equal ids. Invariant: positions that a step returns are
// distinct and each has an edge; a text that has no position left and may not end is no beginning of any text
// of the grammar. Not thread-safe: one Frames and one Walker for each output.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "baton/base/hash.hpp"
#include "text/grammar/automaton.hpp"

namespace baton::text {

using Frame = std::uint32_t;

// What the root rule returns to. Below it there is nothing, or (while masks of single nodes are worked out)
// something unknown.
inline constexpr Frame kBottom = 0;

struct Position {
  Node node = 0;
  Frame parent = kBottom;
  bool operator==(const Position&) const = default;
};

// Each once, in the order in which they came.
class DistinctPositions {
 public:
  void add(Position position);
  void clear();
  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  Position operator[](std::size_t i) const { return list_[i]; }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }

 private:
  std::vector<Position> list_;
  std::unordered_set<std::uint64_t> seen_;
};

struct Positions {
  DistinctPositions at;
  bool left = false;  // the bottom was returned to: the text may end here, or go on in what is below
};

class Walker {
 public:
  // Positions that may be looked at; more come with earn().
  static constexpr std::size_t kCredit = 1 << 21;  // a tenth of a second
  explicit Walker(const Automaton& automaton) : automaton_(automaton), frames_{{0, kBottom}} {}

  // Adds the position and all that it reaches without a byte.
  void open(Position position, Positions& out);
  // What `from` becomes by a byte.
  void step(const DistinctPositions& from, std::uint8_t byte, Positions& out);
  // More ways to read the text than are followed, calls too deep, or no credit left: what it says no longer
  // holds. Whoever writes a grammar decides what a step costs, and an engine's thread pays for it.
  bool lost() const { return lost_; }
  std::size_t credit() const { return credit_; }
  void earn(std::size_t positions) { credit_ = std::min(credit_ + positions, kCredit); }

  // What the positions allow next, in one number: equal only where equal. `alike`: of Automaton.
  Hash128 identity(const DistinctPositions& positions, const std::vector<Node>& alike);

 private:
  struct Call {
    Node back = 0;
    Frame parent = kBottom;
  };

  void pay();
  Frame frame(Node back, Frame parent);
  Hash128 identity(Frame frame, const std::vector<Node>& alike);

  const Automaton& automaton_;
  std::vector<Call> frames_;
  std::unordered_map<std::uint64_t, Frame> by_call_;
  std::vector<Hash128> identities_;  // by frame, as far as asked for
  DistinctPositions opening_;
  std::size_t credit_ = kCredit;
  bool lost_ = false;
};

}  // namespace baton::text
