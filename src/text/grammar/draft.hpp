// An automaton's nodes while it is built, and what has to be known of their graph.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/grammar/automaton.hpp"

namespace baton::text {

struct DraftNode {
  std::vector<ByteEdge> edges;
  std::vector<CallEdge> calls;
  RuleId rule = 0;
  bool ends = false;
};
using Draft = std::vector<DraftNode>;

// The nodes from which their rule's end can be reached: over bytes and calls, or over calls alone.
std::vector<bool> reach_end(const Draft& draft, bool over_bytes);
// A node from which a call leads back to itself before a byte is taken.
std::optional<Node> calls_itself(const Draft& draft, const std::vector<bool>& nullable);

}  // namespace baton::text
