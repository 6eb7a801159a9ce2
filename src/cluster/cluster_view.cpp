#include "baton/cluster/cluster_view.hpp"

#include <utility>

namespace baton {

bool NodeState::accepts_work() const { return up && status && status->ready && !status->draining; }

Role NodeState::role() const { return status ? status->role : info.role; }

ClusterView::ClusterView(NodeInfo self, TimePoint now) : self_(self.name) {
  NodeState& state = nodes_[self_];
  state.info = std::move(self);
  state.is_self = true;
  state.up = true;
  state.since = now;
}

void ClusterView::node_up(const NodeInfo& info, TimePoint now) {
  if (info.name == self_) return;  // nobody else can be this node
  NodeState state;
  state.info = info;
  state.up = true;
  state.since = now;
  nodes_.insert_or_assign(info.name, std::move(state));
  ++version_;
}

void ClusterView::node_down(std::string_view name, const Error& why, TimePoint now) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end() || found->second.is_self || !found->second.up) return;
  found->second.up = false;
  found->second.since = now;
  found->second.down_reason = why.message;
  ++version_;
}

void ClusterView::status(std::string_view name, const StatusMessage& status, TimePoint now) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end() || !found->second.up) return;
  found->second.status = status;
  found->second.heard = now;
  ++version_;
}

void ClusterView::forget_down(Duration age, TimePoint now) {
  const std::size_t gone = std::erase_if(
      nodes_, [&](const auto& entry) { return !entry.second.up && now - entry.second.since > age; });
  if (gone > 0) ++version_;
}

const NodeState& ClusterView::self() const { return nodes_.find(self_)->second; }

const NodeState* ClusterView::find(std::string_view name) const {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : &found->second;
}

}  // namespace baton
