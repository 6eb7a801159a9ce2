// Nodes that no token tells apart, so that they share their masks: of a text of up to 5,000 characters, all
// but the last few dozens.
#include <algorithm>
#include <map>
#include <utility>

#include "text/grammar/automaton.hpp"

namespace baton::text {
namespace {

using Class = std::uint32_t;

// Refines a partition of the nodes round by round. After n rounds nodes of one class are the same for all
// texts of n bytes. A round looks only at nodes that lead to one whose class changed in the round before:
// the others of a class still look the same.
class Refinement {
 public:
  explicit Refinement(const Automaton& automaton)
      : automaton_(automaton), classes_(automaton.size()), before_(automaton.size()) {
    for (Node node = 0; node < automaton.size(); ++node) {
      classes_[node] = automaton.ends(node) ? 1 : 0;
      // Such a call would look further ahead than a round: these nodes are like no other.
      for (const CallEdge& call : automaton.calls(node)) {
        before_[call.back].push_back(node);
        if (automaton.nullable(call.callee)) classes_[node] = next_++;
      }
      for (const ByteEdge& edge : automaton.edges(node)) before_[edge.target].push_back(node);
      affected_.push_back(node);
    }
  }

  bool round() {
    std::map<std::pair<Class, Look>, std::vector<Node>> groups;
    std::map<Class, std::size_t> members;  // of each affected class, how many are affected
    for (const Node node : affected_) {
      groups[{classes_[node], look(node)}].push_back(node);
      ++members[classes_[node]];
    }
    // Some group of a class keeps its name: those that were not looked at or, where all were, the first.
    std::map<Class, bool> unclaimed;
    for (const auto& [of, count] : members) unclaimed[of] = count == size_of(of);
    std::vector<Node> changed;
    for (auto& [key, nodes] : groups) {
      const Class old = key.first;
      if (std::exchange(unclaimed[old], false)) continue;
      sizes_[old] -= nodes.size();
      sizes_.resize(next_ + std::size_t{1});
      sizes_[next_] = nodes.size();
      for (const Node node : nodes) classes_[node] = next_;
      ++next_;
      changed.insert(changed.end(), nodes.begin(), nodes.end());
    }
    affected_.clear();
    for (const Node node : changed)
      affected_.insert(affected_.end(), before_[node].begin(), before_[node].end());
    std::ranges::sort(affected_);
    affected_.erase(std::unique(affected_.begin(), affected_.end()), affected_.end());
    return !affected_.empty();
  }

  std::vector<Node> firsts() const {
    std::vector<Node> first(next_, UINT32_MAX), out(classes_.size());
    for (Node node = 0; node < classes_.size(); ++node) {
      if (first[classes_[node]] == UINT32_MAX) first[classes_[node]] = node;
      out[node] = first[classes_[node]];
    }
    return out;
  }

 private:
  using Look = std::vector<std::uint32_t>;

  Look look(Node node) const {
    Look out;
    for (const ByteEdge& edge : automaton_.edges(node)) {
      out.push_back(edge.bytes.first * 256U + edge.bytes.last);
      out.push_back(classes_[edge.target]);
    }
    out.push_back(UINT32_MAX);
    for (const CallEdge& call : automaton_.calls(node)) {
      out.push_back(call.callee);
      out.push_back(classes_[call.back]);
    }
    return out;
  }

  std::size_t size_of(Class of) {
    if (sizes_.empty()) {
      sizes_.resize(next_);
      for (const Class c : classes_) ++sizes_[c];
    }
    return sizes_[of];
  }

  const Automaton& automaton_;
  std::vector<Class> classes_;             // by node
  std::vector<std::vector<Node>> before_;  // by node: who leads there
  std::vector<std::size_t> sizes_;         // by class
  std::vector<Node> affected_;
  Class next_ = 2;
};

}  // namespace

std::vector<std::vector<Node>> Automaton::alike(std::span<const std::size_t> lengths) const {
  std::vector<std::vector<Node>> out;
  Refinement refinement(*this);
  std::size_t rounds = 0;
  bool changing = true;
  for (const std::size_t length : lengths) {
    for (; rounds < length && changing; ++rounds) changing = refinement.round();
    out.push_back(refinement.firsts());
    if (!changing) break;
  }
  return out;
}

}  // namespace baton::text
