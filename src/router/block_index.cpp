#include "baton/router/block_index.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "router/block_table.hpp"
#include "router/holder_sets.hpp"
#include "router/memory_budget.hpp"

namespace baton {
namespace {

constexpr std::size_t kShardBytes = std::size_t{8} << 20;  // at the bound: 0.3 million entries to copy
constexpr std::size_t kLeastShards = 8;                    // growing needs room for one of them twice
constexpr std::size_t kMostShards = 4096;

std::size_t shards_for(std::size_t max_bytes) {
  return std::bit_floor(std::clamp(max_bytes / kShardBytes, kLeastShards, kMostShards));
}

}  // namespace

struct BlockIndex::State {
  explicit State(std::size_t max_bytes)
      : budget(max_bytes), table(shards_for(max_bytes), budget), sets(budget) {}

  struct Node {
    bool used = false;
    bool repairing = true;  // a snapshot is needed: what does not fit until then is no news
    std::uint64_t sequence = 0;
    std::uint64_t entries = 0;       // in the table
    std::uint64_t unremembered = 0;  // dropped, and not removed since
    BlockSetDigest digest;           // of both
  };

  // change(hash) for each, with the slots of those that follow on their way from memory.
  template <class Change>
  void each_prefetched(std::span<const BlockHash> hashes, const Change& change) const {
    for (const BlockHash& hash : hashes.first(std::min(BlockTable::kAhead, hashes.size())))
      table.prefetch(hash);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      if (i + BlockTable::kAhead < hashes.size()) table.prefetch(hashes[i + BlockTable::kAhead]);
      if (i + BlockTable::kNextAhead < hashes.size()) table.prefetch_next(hashes[i + BlockTable::kNextAhead]);
      change(hashes[i]);
    }
  }
  void add(NodeId id, const BlockHash& hash);
  void remove(NodeId id, const BlockHash& hash);
  void clear(NodeId id);

  MemoryBudget budget;
  BlockTable table;
  HolderSets sets;
  std::vector<Node> nodes;
  std::size_t size = 0;
  std::uint64_t dropped = 0, gaps = 0, drifts = 0;
};

void BlockIndex::State::add(NodeId id, const BlockHash& hash) {
  Node& node = nodes[id];
  Holders* holders = table.insert(hash);
  const auto added = holders == nullptr ? HolderSets::Added::full : sets.add(*holders, id);
  if (added == HolderSets::Added::present) return;
  node.digest.add(hash);
  if (added == HolderSets::Added::full) {
    ++node.unremembered;
    ++dropped;
  } else {
    ++node.entries;
    ++size;
  }
}

// What is not there was dropped, as far as the engine has dropped blocks at all: the digest takes its word.
void BlockIndex::State::remove(NodeId id, const BlockHash& hash) {
  Node& node = nodes[id];
  Holders* holders = table.find(hash);
  if (holders != nullptr && sets.remove(*holders, id)) {
    if (*holders == 0) table.erase(hash, holders);
    --node.entries;
    --size;
  } else if (node.unremembered > 0) {
    --node.unremembered;
  } else {
    return;
  }
  node.digest.remove(hash);
}

void BlockIndex::State::clear(NodeId id) {
  Node& node = nodes[id];
  if (node.entries > 0) table.sweep([&](Holders& holders) { sets.remove(holders, id); });
  size -= node.entries;
  node.entries = node.unremembered = 0;
  node.digest = {};
}

BlockIndex::BlockIndex(std::size_t max_bytes) : state_(std::make_unique<State>(max_bytes)) {}
BlockIndex::~BlockIndex() = default;

NodeId BlockIndex::add_node() {
  State& s = *state_;
  const auto unused = std::ranges::find(s.nodes, false, &State::Node::used);
  const auto id = static_cast<std::size_t>(unused - s.nodes.begin());
  if (unused == s.nodes.end()) {
    if (id == HolderSets::kMaxNodes || !s.sets.make_room_for(static_cast<NodeId>(id))) return kNoNode;
    if (!s.budget.take(sizeof(State::Node))) return kNoNode;
    s.nodes.emplace_back();
  }
  s.nodes[id].used = true;
  return static_cast<NodeId>(id);
}

void BlockIndex::forget(NodeId node) {
  if (node == kNoNode) return;
  state_->clear(node);
  state_->nodes[node] = {};
}

BlockIndex::Applied BlockIndex::apply(NodeId id, const BlockEventsMessage& events) {
  if (id == kNoNode) return Applied::ok;
  State& s = *state_;
  State::Node& node = s.nodes[id];
  const auto lost = [&](std::uint64_t& counter, Applied how) {
    if (!node.repairing) ++counter;
    node.repairing = true;
    return how;
  };
  if (events.snapshot) {
    s.clear(id);
    node.repairing = false;
  } else {
    if (events.sequence <= node.sequence) return Applied::ok;  // already part of a snapshot
    if (events.sequence != node.sequence + 1) return lost(s.gaps, Applied::gap);
  }
  node.sequence = events.sequence;
  s.each_prefetched(events.removed, [&](const BlockHash& hash) { s.remove(id, hash); });
  s.each_prefetched(events.stored, [&](const BlockHash& hash) { s.add(id, hash); });
  if (node.digest != events.digest) return lost(s.drifts, Applied::drift);
  node.repairing = false;
  return Applied::ok;
}

void BlockIndex::match(std::span<const BlockHash> hashes, std::vector<std::uint32_t>& held) const {
  const State& s = *state_;
  held.assign(s.nodes.size(), 0);
  const std::size_t words = s.sets.words();
  std::array<std::uint64_t, (HolderSets::kMaxNodes + 1) / 64> holding, alive;
  std::fill_n(alive.begin(), words, ~std::uint64_t{0});
  std::uint32_t depth = 0;
  const auto end = [&](std::size_t word, std::uint64_t engines) {  // of their run of leading blocks
    for (; engines != 0; engines &= engines - 1) {
      const std::size_t node = word * 64 + static_cast<std::size_t>(std::countr_zero(engines));
      if (node < held.size()) held[node] = depth;
    }
  };
  const std::size_t ahead = std::min(BlockTable::kAhead, hashes.size());
  for (const BlockHash& hash : hashes.first(ahead)) s.table.prefetch(hash);
  std::uint64_t any = hashes.empty() ? 0 : 1;
  for (; any != 0 && depth < hashes.size(); ++depth) {
    if (depth + ahead < hashes.size()) s.table.prefetch(hashes[depth + ahead]);
    const Holders* holders = s.table.find(hashes[depth]);
    if (holders == nullptr) break;
    s.sets.read(*holders, std::span(holding).first(words));
    any = 0;
    for (std::size_t i = 0; i < words; ++i) {
      if (const std::uint64_t gone = alive[i] & ~holding[i]; depth > 0 && gone != 0) end(i, gone);
      alive[i] &= holding[i];
      any |= alive[i];
    }
  }
  if (any == 0) return;
  for (std::size_t i = 0; depth > 0 && i < words; ++i) end(i, alive[i]);
}

std::size_t BlockIndex::size() const { return state_->size; }
std::size_t BlockIndex::memory_bytes() const { return state_->budget.used(); }
std::uint64_t BlockIndex::dropped() const { return state_->dropped; }
std::uint64_t BlockIndex::gaps() const { return state_->gaps; }
std::uint64_t BlockIndex::drifts() const { return state_->drifts; }

}  // namespace baton
