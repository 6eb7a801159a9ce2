#include "baton/router/block_index.hpp"

#include <algorithm>

namespace baton {

BlockIndex::Applied BlockIndex::apply(const std::string& node, const BlockEventsMessage& events) {
  auto found = nodes_.find(node);
  if (found == nodes_.end()) {
    found = nodes_.emplace(node, Node{static_cast<NodeId>(names_.size()), 0}).first;
    names_.push_back(node);
  }
  Node& entry = found->second;
  if (events.snapshot) {
    for (auto holder = holders_.begin(); holder != holders_.end();) {
      std::erase(holder->second, entry.id);
      holder = holder->second.empty() ? holders_.erase(holder) : std::next(holder);
    }
  } else {
    if (events.sequence <= entry.sequence) return Applied::ok;  // already part of a snapshot
    if (events.sequence != entry.sequence + 1) return Applied::gap;
  }
  entry.sequence = events.sequence;
  for (const BlockHash& hash : events.stored) add(entry.id, hash);
  for (const BlockHash& hash : events.removed) remove(entry.id, hash);
  return Applied::ok;
}

void BlockIndex::forget(const std::string& node) {
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return;
  BlockEventsMessage nothing;
  nothing.snapshot = true;
  apply(node, nothing);
}

std::map<std::string, std::size_t> BlockIndex::match(std::span<const BlockHash> hashes) const {
  std::map<std::string, std::size_t> lengths;
  std::vector<NodeId> alive;
  for (std::size_t depth = 0; depth < hashes.size(); ++depth) {
    const auto found = holders_.find(hashes[depth]);
    if (found == holders_.end()) break;
    if (depth == 0) {
      alive = found->second;
    } else {
      const auto lost = [&](NodeId node) {
        return std::find(found->second.begin(), found->second.end(), node) == found->second.end();
      };
      std::erase_if(alive, lost);
    }
    if (alive.empty()) break;
    for (const NodeId node : alive) lengths[names_[node]] = depth + 1;
  }
  return lengths;
}

void BlockIndex::add(NodeId node, BlockHash hash) {
  const auto found = holders_.find(hash);
  if (found != holders_.end()) {
    if (std::find(found->second.begin(), found->second.end(), node) == found->second.end())
      found->second.push_back(node);
    return;
  }
  if (holders_.size() >= max_entries_) {
    ++dropped_;
    return;
  }
  holders_.emplace(hash, std::vector<NodeId>{node});
}

void BlockIndex::remove(NodeId node, BlockHash hash) {
  const auto found = holders_.find(hash);
  if (found == holders_.end()) return;
  std::erase(found->second, node);
  if (found->second.empty()) holders_.erase(found);
}

}  // namespace baton
