#include "text/grammar/automaton.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "text/grammar/draft.hpp"
#include "text/grammar/nfa.hpp"

namespace baton::text {
namespace {

using StateSet = std::vector<std::uint32_t>;  // ascending

constexpr std::size_t kWork = 1 << 21;  // states in all sets together: half a second of work, no more

}  // namespace

// Determinises rule by rule those that the root calls, then drops what leads nowhere.
class AutomatonBuilder {
 public:
  AutomatonBuilder(const Syntax& syntax, std::size_t most_nodes)
      : syntax_(syntax), most_nodes_(most_nodes), nfas_(syntax, most_nodes) {}

  Result<Automaton> build() {
    start_of(syntax_.root);
    for (std::size_t i = 0; i < called_.size(); ++i)
      if (!determinise(called_[i]))
        return make_error(ErrorCode::too_large, "The grammar has more than " + std::to_string(most_nodes_) +
                                                    " states: shorten its repetitions.");
    for (DraftNode& node : nodes_)
      for (CallEdge& call : node.calls) call.callee = starts_[rule_of_slot_[call.callee]].value();
    trim();
    const Node root = starts_[syntax_.root].value();
    if (!alive_[root])
      return make_error(ErrorCode::invalid_argument, "The grammar is wrong: no text at all follows it.");
    const std::vector<bool> nullable = reach_end(nodes_, false);
    if (const auto node = calls_itself(nodes_, nullable))
      return make_error(ErrorCode::unsupported, "The grammar cannot be used: rule '" +
                                                    name(nodes_[*node].rule) + "' begins with itself.");
    return pack(root, nullable);
  }

 private:
  // The slot under which a call of this rule is remembered until its start is known.
  Node start_of(RuleId rule) {
    if (starts_.size() <= rule) {
      starts_.resize(rule + std::size_t{1});
      slots_.resize(rule + std::size_t{1});
    }
    if (!slots_[rule]) {
      slots_[rule] = static_cast<Node>(rule_of_slot_.size());
      rule_of_slot_.push_back(rule);
      called_.push_back(rule);
    }
    return *slots_[rule];
  }

  bool determinise(RuleId rule) {
    auto nfa = nfas_.build(rule);
    if (!nfa) return false;
    nfa_ = std::move(*nfa);
    sets_.clear();
    pending_.clear();
    const auto start = node_of({nfa_.start}, rule);
    if (!start) return false;
    starts_[rule] = *start;
    for (std::size_t i = 0; i < pending_.size(); ++i)
      if (!expand(pending_[i].first, pending_[i].second, rule)) return false;
    return true;
  }

  void close(StateSet& set) {
    seen_.resize(nfa_.states.size(), 0);
    ++mark_;
    for (const std::uint32_t state : set) seen_[state] = mark_;
    for (std::size_t i = 0; i < set.size(); ++i) {
      for (const std::uint32_t next : nfa_.states[set[i]].empty) {
        if (std::exchange(seen_[next], mark_) != mark_) set.push_back(next);
      }
    }
    std::ranges::sort(set);
  }

  std::optional<Node> node_of(StateSet set, RuleId rule) {
    std::ranges::sort(set);
    set.erase(std::unique(set.begin(), set.end()), set.end());
    close(set);
    work_ += set.size();
    const auto found = sets_.find(set);
    if (found != sets_.end()) return found->second;
    if (nodes_.size() >= most_nodes_ || work_ > kWork) return std::nullopt;
    const auto node = static_cast<Node>(nodes_.size());
    nodes_.emplace_back();
    nodes_.back().rule = rule;
    nodes_.back().ends = std::ranges::binary_search(set, nfa_.end);
    pending_.emplace_back(node, set);
    sets_.emplace(std::move(set), node);
    return node;
  }

  bool expand(Node node, StateSet set, RuleId rule) {
    return bytes_of(node, set, rule) && calls_of(node, set, rule);
  }

  bool bytes_of(Node node, const StateSet& set, RuleId rule) {
    std::vector<NfaState::Byte> edges;
    std::vector<int> borders;  // where some range begins, or ended before
    for (const std::uint32_t state : set) {
      for (const NfaState::Byte& edge : nfa_.states[state].bytes) {
        edges.push_back(edge);
        borders.push_back(edge.bytes.first);
        borders.push_back(edge.bytes.last + 1);
      }
    }
    std::ranges::sort(borders);
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
      StateSet targets;
      for (const NfaState::Byte& edge : edges)
        if (edge.bytes.first <= borders[i] && borders[i] <= edge.bytes.last) targets.push_back(edge.target);
      if (targets.empty()) continue;
      const auto target = node_of(std::move(targets), rule);
      if (!target) return false;
      const ByteRange range{static_cast<std::uint8_t>(borders[i]),
                            static_cast<std::uint8_t>(borders[i + 1] - 1)};
      auto& out = nodes_[node].edges;
      if (!out.empty() && out.back().target == *target && out.back().bytes.last + 1 == range.first) {
        out.back().bytes.last = range.last;
      } else {
        out.push_back({range, *target});
      }
    }
    return true;
  }

  bool calls_of(Node node, const StateSet& set, RuleId rule) {
    std::map<RuleId, StateSet> calls;
    for (const std::uint32_t state : set)
      for (const NfaState::Call& call : nfa_.states[state].calls) calls[call.rule].push_back(call.target);
    for (auto& [callee, targets] : calls) {
      const auto back = node_of(std::move(targets), rule);
      if (!back) return false;
      nodes_[node].calls.push_back({start_of(callee), *back});
    }
    return true;
  }

  void trim() {
    alive_ = reach_end(nodes_, true);
    for (DraftNode& node : nodes_) {
      std::erase_if(node.edges, [&](const ByteEdge& edge) { return !alive_[edge.target]; });
      std::erase_if(node.calls,
                    [&](const CallEdge& call) { return !alive_[call.callee] || !alive_[call.back]; });
    }
  }

  std::string name(RuleId rule) const {
    return rule < syntax_.names.size() ? syntax_.names[rule] : "a repetition";
  }

  Automaton pack(Node root, const std::vector<bool>& nullable) const {
    Automaton out;
    std::vector<Node> places(nodes_.size(), 0);
    Node next = 0;
    for (Node node = 0; node < nodes_.size(); ++node)
      if (alive_[node]) places[node] = next++;
    for (Node node = 0; node < nodes_.size(); ++node) {
      if (!alive_[node]) continue;
      Automaton::Place place;
      place.ends = nodes_[node].ends;
      place.nullable = nullable[node];
      place.edges = {static_cast<std::uint32_t>(out.edges_.size()),
                     static_cast<std::uint32_t>(nodes_[node].edges.size())};
      place.calls = {static_cast<std::uint32_t>(out.calls_.size()),
                     static_cast<std::uint32_t>(nodes_[node].calls.size())};
      for (const ByteEdge& edge : nodes_[node].edges) out.edges_.push_back({edge.bytes, places[edge.target]});
      for (const CallEdge& call : nodes_[node].calls)
        out.calls_.push_back({places[call.callee], places[call.back]});
      out.nodes_.push_back(place);
    }
    out.root_ = places[root];
    return out;
  }

  const Syntax& syntax_;
  const std::size_t most_nodes_;
  NfaBuilder nfas_;
  Nfa nfa_;  // of the rule that is being determinised
  std::map<StateSet, Node> sets_;
  std::vector<std::pair<Node, StateSet>> pending_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t mark_ = 0;
  std::size_t work_ = 0;

  Draft nodes_;                 // while determinising, a call's callee is a slot
  std::vector<RuleId> called_;  // in the order in which they were first called
  std::vector<RuleId> rule_of_slot_;
  std::vector<std::optional<Node>> slots_;   // by rule
  std::vector<std::optional<Node>> starts_;  // by rule
  std::vector<bool> alive_;
};

Result<Automaton> Automaton::build(const Syntax& syntax, std::size_t most_nodes) {
  return AutomatonBuilder(syntax, most_nodes).build();
}

}  // namespace baton::text
