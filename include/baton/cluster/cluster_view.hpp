// ClusterView: what a daemon knows of every node, itself included. A value: the events change it, everyone
// else reads a copy.
//
// Invariant: one entry for each name ever seen and not forgotten; an entry that is down keeps what was last
// known, for people, but never counts as a candidate. Events that are older than what is known change nothing
// harmful: a status of a node that is down, or unknown, is ignored.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/mesh.hpp"
#include "baton/peer/messages.hpp"

namespace baton {

struct NodeState {
  NodeInfo info;
  bool is_self = false;
  bool up = false;
  TimePoint since{};                    // of `up`
  std::optional<StatusMessage> status;  // the last one of this life; nothing before the first
  TimePoint heard{};                    // when it came
  std::string down_reason;              // while down

  // Up, ready and not draining: may be given new work. Its role is then what its status says.
  bool accepts_work() const;
  Role role() const;  // of the last status, else of its introduction
};

class ClusterView {
 public:
  // This node is up from the beginning.
  ClusterView(NodeInfo self, TimePoint now);

  void node_up(const NodeInfo& info, TimePoint now);  // a new life: the earlier status is forgotten
  void node_down(std::string_view name, const Error& why, TimePoint now);
  void status(std::string_view name, const StatusMessage& status, TimePoint now);  // of this node, too
  // Entries that have been down for longer than `age`; so a cluster of short-lived names stays bounded.
  void forget_down(Duration age, TimePoint now);

  const NodeState& self() const;
  const NodeState* find(std::string_view name) const;  // null: never seen; valid until the next change
  const std::map<std::string, NodeState, std::less<>>& nodes() const { return nodes_; }  // by name
  std::uint64_t version() const { return version_; }  // rises with every change

 private:
  std::string self_;
  std::map<std::string, NodeState, std::less<>> nodes_;
  std::uint64_t version_ = 0;
};

}  // namespace baton
