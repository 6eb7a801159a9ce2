// Where a text stands in an automaton: a set of positions, each a node and what is called from where.
//
// Frames are interned, so that equal stacks have equal ids. Invariant: positions that a step returns are
// distinct and each has an edge; a text that has no position left and may not end is no beginning of any text
// of the grammar. Not thread-safe: one Frames and one Walker for each output.
#pragma once

#include <cstdint>
#include <unordered_map>
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

struct Positions {
  std::vector<Position> at;
  bool left = false;  // the bottom was returned to: the text may end here, or go on in what is below
};

class Walker {
 public:
  explicit Walker(const Automaton& automaton) : automaton_(automaton), frames_{{0, kBottom}} {}

  // Adds the position and all that it reaches without a byte.
  void open(Position position, Positions& out);
  // What `from` becomes by a byte.
  void step(const std::vector<Position>& from, std::uint8_t byte, Positions& out);
  // More ways to read the text than are followed, or calls too deep: what it says no longer holds.
  bool lost() const { return lost_; }

  // What the positions allow next, in one number: equal only where equal. `alike`: of Automaton.
  Hash128 identity(const std::vector<Position>& positions, const std::vector<Node>& alike);

 private:
  struct Call {
    Node back = 0;
    Frame parent = kBottom;
  };

  Frame frame(Node back, Frame parent);
  Hash128 identity(Frame frame, const std::vector<Node>& alike);

  const Automaton& automaton_;
  std::vector<Call> frames_;
  std::unordered_map<std::uint64_t, Frame> by_call_;
  std::vector<Hash128> identities_;  // by frame, as far as asked for
  std::vector<Position> opening_;
  bool lost_ = false;
};

}  // namespace baton::text
