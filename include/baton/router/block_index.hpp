// BlockIndex: which engine's prefix cache holds which blocks, as told by the engines' own events. A hit is a
// hint: the owner's match at admission decides.
//
// Pure and single-threaded (the router's thread owns it). Events of an engine are numbered; a gap is reported
// so that the caller asks for a snapshot. Bounded: beyond `max_entries` hashes new ones are not remembered
// (counted in `dropped`), which costs hits, never correctness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "baton/cache/block.hpp"
#include "baton/peer/messages.hpp"

namespace baton {

class BlockIndex {
 public:
  explicit BlockIndex(std::size_t max_entries = 4 << 20) : max_entries_(max_entries) {}

  enum class Applied : std::uint8_t { ok, gap };  // gap: events are missing; nothing was applied
  Applied apply(const std::string& node, const BlockEventsMessage& events);
  void forget(const std::string& node);

  // For each node that holds hashes[0]: how many leading hashes it holds.
  std::map<std::string, std::size_t> match(std::span<const BlockHash> hashes) const;

  std::size_t size() const { return holders_.size(); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  using NodeId = std::uint16_t;
  struct Node {
    NodeId id = 0;
    std::uint64_t sequence = 0;
  };
  void add(NodeId node, BlockHash hash);
  void remove(NodeId node, BlockHash hash);

  const std::size_t max_entries_;
  std::unordered_map<BlockHash, std::vector<NodeId>> holders_;
  std::map<std::string, Node> nodes_;
  std::vector<std::string> names_;
  std::uint64_t dropped_ = 0;
};

}  // namespace baton
