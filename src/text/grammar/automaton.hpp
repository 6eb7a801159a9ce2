// A grammar as a pushdown automaton over bytes: one deterministic automaton for each rule, whose edges take a
// range of bytes or call a rule and go on where it ends.
//
// Invariant: from each node its rule's end can be reached, so whatever has a node left is the beginning of
// some complete text. No rule calls itself before it has taken a byte. Small rules without loops are not
// called but written out where they are used. Immutable.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/grammar/syntax.hpp"
#include "text/grammar/utf8_ranges.hpp"

namespace baton::text {

using Node = std::uint32_t;

struct ByteEdge {
  ByteRange bytes;
  Node target = 0;
};
struct CallEdge {
  Node callee = 0;  // where the called rule starts
  Node back = 0;    // where it goes on behind
};

class Automaton {
 public:
  // unsupported where a rule begins with itself, invalid_argument where no text at all can follow, too_large
  // beyond `most_nodes`.
  static Result<Automaton> build(const Syntax& syntax, std::size_t most_nodes);

  std::size_t size() const { return nodes_.size(); }
  Node root() const { return root_; }
  bool ends(Node node) const { return nodes_[node].ends; }  // its rule may end here
  // Its rule may end without another byte.
  bool nullable(Node node) const { return nodes_[node].nullable; }
  std::span<const ByteEdge> edges(Node node) const {
    const Span& span = nodes_[node].edges;
    return std::span(edges_).subspan(span.begin, span.size);  // ascending, disjoint
  }
  std::span<const CallEdge> calls(Node node) const {
    const Span& span = nodes_[node].calls;
    return std::span(calls_).subspan(span.begin, span.size);
  }

  // For each length (ascending), for each node the first one that no text of so many bytes tells from it,
  // whatever is called from where. Ends early where longer texts tell no more apart.
  std::vector<std::vector<Node>> alike(std::span<const std::size_t> lengths) const;

 private:
  friend class AutomatonBuilder;
  struct Span {
    std::uint32_t begin = 0, size = 0;
  };
  struct Place {
    Span edges, calls;
    bool ends = false;
    bool nullable = false;  // an end can be reached without a byte
  };

  std::vector<Place> nodes_;
  std::vector<ByteEdge> edges_;
  std::vector<CallEdge> calls_;
  Node root_ = 0;
};

}  // namespace baton::text
