#include "text/grammar/draft.hpp"

#include <algorithm>

namespace baton::text {

// Backwards from the ends. A call leads on where the callee's start and the node behind both reach theirs.
std::vector<bool> reach_end(const Draft& draft, bool over_bytes) {
  struct Use {
    Node caller, other;
  };
  std::vector<std::vector<Node>> before(over_bytes ? draft.size() : 0);
  std::vector<std::vector<Use>> uses(draft.size());  // by the one end of a call, with the other
  for (Node node = 0; node < draft.size(); ++node) {
    if (over_bytes)
      for (const ByteEdge& edge : draft[node].edges) before[edge.target].push_back(node);
    for (const CallEdge& call : draft[node].calls) {
      uses[call.callee].push_back({node, call.back});
      uses[call.back].push_back({node, call.callee});
    }
  }
  std::vector<bool> reached(draft.size());
  std::vector<Node> found;
  const auto reach = [&](Node node) {
    if (reached[node]) return;
    reached[node] = true;
    found.push_back(node);
  };
  for (Node node = 0; node < draft.size(); ++node)
    if (draft[node].ends) reach(node);
  while (!found.empty()) {
    const Node node = found.back();
    found.pop_back();
    if (over_bytes)
      for (const Node ahead : before[node]) reach(ahead);
    for (const Use& use : uses[node])
      if (reached[use.other]) reach(use.caller);
  }
  return reached;
}

namespace {

// Tarjan's strongly connected components of the edges that take no byte, without recursion: a grammar may
// chain a hundred thousand rules.
class Components {
 public:
  Components(const Draft& draft, const std::vector<bool>& nullable)
      : draft_(draft),
        nullable_(nullable),
        order_(draft.size(), 0),
        low_(draft.size(), 0),
        of_(draft.size(), 0) {
    for (Node node = 0; node < draft.size(); ++node)
      if (order_[node] == 0) walk(node);
  }
  bool together(Node a, Node b) const { return of_[a] == of_[b]; }

 private:
  struct Visit {
    Node node;
    std::size_t edge;  // two for each call: into it, and behind it where it may take nothing
  };

  void open(Node node) {
    order_[node] = low_[node] = ++opened_;
    stack_.push_back(node);
    path_.push_back({node, 0});
  }

  void walk(Node first) {
    open(first);
    while (!path_.empty()) {
      const Node node = path_.back().node;
      const auto& calls = draft_[node].calls;
      if (path_.back().edge == 2 * calls.size()) {
        close(node);
        continue;
      }
      const std::size_t edge = path_.back().edge++;
      const CallEdge& call = calls[edge / 2];
      if (edge % 2 == 1 && !nullable_[call.callee]) continue;
      const Node next = edge % 2 == 0 ? call.callee : call.back;
      if (order_[next] == 0) {
        open(next);
      } else if (of_[next] == 0) {
        low_[node] = std::min(low_[node], order_[next]);
      }
    }
  }

  void close(Node node) {
    path_.pop_back();
    if (!path_.empty()) low_[path_.back().node] = std::min(low_[path_.back().node], low_[node]);
    if (low_[node] != order_[node]) return;
    ++components_;
    for (Node member = 0;;) {
      member = stack_.back();
      stack_.pop_back();
      of_[member] = components_;
      if (member == node) return;
    }
  }

  const Draft& draft_;
  const std::vector<bool>& nullable_;
  std::vector<std::uint32_t> order_, low_;  // by node; 0: not seen yet
  std::vector<std::uint32_t> of_;           // by node: its component; 0: not known yet
  std::vector<Node> stack_;
  std::vector<Visit> path_;
  std::uint32_t opened_ = 0, components_ = 0;
};

}  // namespace

std::optional<Node> calls_itself(const Draft& draft, const std::vector<bool>& nullable) {
  const Components components(draft, nullable);
  for (Node node = 0; node < draft.size(); ++node)
    for (const CallEdge& call : draft[node].calls)
      if (components.together(node, call.callee)) return call.callee;
  return std::nullopt;
}

}  // namespace baton::text
