// BlockPool: pins, the hash map of published blocks and the eviction order, an intrusive list through the
// cached blocks. Every operation is O(1) per block. Invariant: a block is in exactly one of the free stack
// (unpinned, unpublished), the eviction list (unpinned, published) and nobody's hands but its BlockRefs'
// (pinned).
#include "baton/cache/block_pool.hpp"

#include <algorithm>
#include <cassert>
#include <string>
#include <unordered_map>

namespace baton {

namespace {
constexpr BlockId kNone = -1;
}

struct BlockPool::State {
  struct Block {
    std::uint32_t pins = 0;
    std::uint32_t generation = 0;
    bool published = false;
    bool told = false;      // where published: of the first group
    BlockHash hash;         // where published, of its group
    BlockId older = kNone;  // neighbours in the eviction order, where cached
    BlockId newer = kNone;
  };

  std::int32_t block_size = 1;
  KvGroups groups;
  std::vector<Block> blocks;
  std::vector<TokenId> tokens;  // [blocks, block_size], of the published ones
  std::vector<BlockId> free;    // a stack
  std::unordered_map<BlockHash, BlockId> by_hash;
  BlockId oldest = kNone;
  BlockId newest = kNone;
  std::size_t cached = 0;
  std::vector<BlockEvent> events;
  BlockSetDigest digest;  // of what the first group has

  Block& at(BlockId id) { return blocks[static_cast<std::size_t>(id)]; }

  std::span<TokenId> tokens_of(BlockId id) {
    const auto size = static_cast<std::size_t>(block_size);
    return std::span(tokens).subspan(static_cast<std::size_t>(id) * size, size);
  }

  // The block under this hash with these tokens, or kNone.
  BlockId find(BlockHash hash, std::span<const TokenId> expected) {
    const auto it = by_hash.find(hash);
    if (it == by_hash.end()) return kNone;
    return std::ranges::equal(tokens_of(it->second), expected) ? it->second : kNone;
  }

  // Block i of a text, of one group.
  BlockId find(std::span<const BlockHash> hashes, std::span<const TokenId> text, std::size_t i,
               std::int32_t group) {
    const auto size = static_cast<std::size_t>(block_size);
    return find(hash_in_group(hashes[i], group), text.subspan(i * size, size));
  }

  std::size_t first_seen(std::size_t length) const {
    return static_cast<std::size_t>(
        groups.first_seen_block(static_cast<std::int32_t>(length) * block_size, block_size));
  }

  std::size_t match_length(std::span<const BlockHash> hashes, std::span<const TokenId> text) {
    const std::size_t most = std::min(hashes.size(), text.size() / static_cast<std::size_t>(block_size));
    const auto has = [&](std::size_t i, std::int32_t group) { return find(hashes, text, i, group) != kNone; };
    std::size_t length = groups.full > 0 ? 0 : most;
    const auto has_all = [&](std::size_t i) {
      for (std::int32_t group = 0; group < groups.full; ++group)
        if (!has(i, group)) return false;
      return true;
    };
    while (length < most && has_all(length)) ++length;
    // The windows of a shorter prefix begin no later: whatever one of them misses, the prefix ends before it.
    for (std::int32_t group = groups.full, whole = 0; length > 0 && whole < groups.windowed;) {
      std::size_t i = length;
      while (i > first_seen(length) && has(i - 1, group)) --i;
      const bool misses = i > first_seen(length);
      if (misses) length = i - 1;
      whole = misses ? 0 : whole + 1;
      if (++group == groups.count()) group = groups.full;
    }
    return length;
  }

  void append_to_eviction_order(BlockId id) {
    Block& block = at(id);
    block.older = newest;
    block.newer = kNone;
    (newest == kNone ? oldest : at(newest).newer) = id;
    newest = id;
    ++cached;
  }

  void remove_from_eviction_order(BlockId id) {
    const Block& block = at(id);
    (block.older == kNone ? oldest : at(block.older).newer) = block.newer;
    (block.newer == kNone ? newest : at(block.newer).older) = block.older;
    --cached;
  }

  void make_oldest(BlockId id) {
    remove_from_eviction_order(id);
    Block& block = at(id);
    block.older = kNone;
    block.newer = oldest;
    (oldest == kNone ? newest : at(oldest).older) = id;
    oldest = id;
    ++cached;
  }

  void pin(BlockId id) {
    Block& block = at(id);
    if (block.pins++ == 0) remove_from_eviction_order(id);  // only a published block is hit while unpinned
  }

  void unpin(BlockId id) {
    Block& block = at(id);
    assert(block.pins > 0);
    if (--block.pins > 0) return;
    if (block.published) {
      append_to_eviction_order(id);
    } else {
      free.push_back(id);
    }
  }

  void evict_oldest() {
    const BlockId id = oldest;
    remove_from_eviction_order(id);
    Block& block = at(id);
    by_hash.erase(block.hash);
    block.published = false;
    if (block.told) {
      digest.remove(block.hash);
      record({BlockEvent::Kind::removed, block.hash});
    }
    free.push_back(id);
  }

  void record(BlockEvent event) {
    events.push_back(event);
    if (events.size() > 4 * blocks.size() + 16) drop_undone_events();
  }

  // A hash's events alternate, so their net effect is the last one, or nothing where the first and the last
  // differ. What remains: at most one `stored` per block published now, one `removed` per block published
  // at the last take.
  void drop_undone_events() {
    struct Seen {
      BlockEvent::Kind first;
      std::size_t last;
    };
    std::unordered_map<BlockHash, Seen> seen;
    for (std::size_t i = 0; i < events.size(); ++i) {
      const auto [it, fresh] = seen.try_emplace(events[i].hash, Seen{events[i].kind, i});
      if (!fresh) it->second.last = i;
    }
    std::vector<BlockEvent> kept;
    for (std::size_t i = 0; i < events.size(); ++i) {
      const Seen& of = seen.at(events[i].hash);
      if (of.last == i && of.first == events[i].kind) kept.push_back(events[i]);
    }
    events = std::move(kept);
  }
};

BlockRef::BlockRef(BlockRef&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), id_(std::exchange(other.id_, kNone)) {}

BlockRef& BlockRef::operator=(BlockRef&& other) noexcept {
  if (this != &other) {
    reset();
    pool_ = std::exchange(other.pool_, nullptr);
    id_ = std::exchange(other.id_, kNone);
  }
  return *this;
}

BlockRef::~BlockRef() { reset(); }

BlockRef BlockRef::share() const {
  if (pool_ == nullptr) return {};
  ++pool_->state_->at(id_).pins;
  return BlockRef(pool_, id_);
}

void BlockRef::reset() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->state_->unpin(std::exchange(id_, kNone));
}

void BlockRef::reset_first_to_go() {
  if (pool_ == nullptr) return;
  BlockPool::State& state = *pool_->state_;
  const BlockId id = id_;
  reset();
  if (state.at(id).pins == 0 && state.at(id).published) state.make_oldest(id);
}

BlockPool::BlockPool(std::int32_t blocks, std::int32_t block_size, const KvGroups& groups)
    : state_(std::make_unique<State>()) {
  const auto count = static_cast<std::size_t>(std::max(blocks, 0));
  state_->block_size = std::max(block_size, 1);
  state_->groups = groups;
  state_->blocks.resize(count);
  state_->tokens.resize(count * static_cast<std::size_t>(state_->block_size));
  state_->by_hash.reserve(count);
  state_->free.reserve(count);
  for (std::size_t i = count; i-- > 0;) state_->free.push_back(static_cast<BlockId>(i));  // 0 goes out first
}

BlockPool::~BlockPool() { assert(in_use() == 0 && "a BlockRef outlives its pool"); }

SequenceBlocks BlockPool::match(std::span<const BlockHash> hashes, std::span<const TokenId> tokens) {
  const KvGroups& groups = state_->groups;
  const std::size_t length = state_->match_length(hashes, tokens), seen = state_->first_seen(length);
  std::vector<BlockRef> found(length * static_cast<std::size_t>(groups.count()));
  auto next = found.begin();
  for (std::size_t i = 0; i < length; ++i) {
    for (std::int32_t group = 0; group < groups.count(); ++group, ++next) {
      if (group >= groups.full && i < seen) continue;
      const BlockId id = state_->find(hashes, tokens, i, group);
      state_->pin(id);
      *next = BlockRef(this, id);
    }
  }
  SequenceBlocks blocks(groups);
  blocks.append(std::move(found));
  return blocks;
}

std::size_t BlockPool::match_length(std::span<const BlockHash> hashes,
                                    std::span<const TokenId> tokens) const {
  return state_->match_length(hashes, tokens);
}

bool BlockPool::contains(BlockHash hash) const { return state_->by_hash.contains(hash); }

Result<std::vector<BlockRef>> BlockPool::allocate(std::size_t n) {
  if (n > available()) {
    return make_error(ErrorCode::out_of_memory, "needs " + std::to_string(n) + " KV blocks; " +
                                                    std::to_string(available()) + " of " +
                                                    std::to_string(total()) + " are available");
  }
  std::vector<BlockRef> fresh;
  fresh.reserve(n);
  while (fresh.size() < n) {
    if (state_->free.empty()) state_->evict_oldest();
    const BlockId id = state_->free.back();
    state_->free.pop_back();
    State::Block& block = state_->at(id);
    block.pins = 1;
    ++block.generation;
    fresh.push_back(BlockRef(this, id));
  }
  return fresh;
}

Result<void> BlockPool::extend(SequenceBlocks& blocks, std::int32_t tokens) {
  const KvGroups& groups = state_->groups;
  const auto width = static_cast<std::size_t>(groups.count());
  const auto end = static_cast<std::size_t>((tokens + state_->block_size - 1) / state_->block_size);
  const auto seen = static_cast<std::size_t>(groups.first_seen_block(tokens, state_->block_size));
  const auto wanted = [&](std::size_t block, std::size_t group) {
    return group < static_cast<std::size_t>(groups.full) || block >= seen;
  };
  std::size_t missing = 0;
  for (std::size_t block = blocks.size(); block < end; ++block)
    for (std::size_t group = 0; group < width; ++group) missing += wanted(block, group);
  auto fresh = allocate(missing);
  if (!fresh) return std::move(fresh).error();
  auto next = fresh->begin();
  std::vector<BlockRef> refs;
  for (std::size_t block = blocks.size(); block < end; ++block)
    for (std::size_t group = 0; group < width; ++group)
      refs.push_back(wanted(block, group) ? std::move(*next++) : BlockRef{});
  blocks.append(std::move(refs));
  return {};
}

void BlockPool::publish(const BlockRef& block, BlockHash hash, std::span<const TokenId> tokens,
                        std::int32_t group) {
  assert(block.pool_ == this && tokens.size() == static_cast<std::size_t>(state_->block_size));
  if (block.pool_ != this || tokens.size() != static_cast<std::size_t>(state_->block_size)) return;
  State::Block& entry = state_->at(block.id_);
  const BlockHash of_group = hash_in_group(hash, group);
  assert(!entry.published || entry.hash == of_group);
  if (entry.published || !state_->by_hash.try_emplace(of_group, block.id_).second) return;
  entry.published = true;
  entry.told = group == 0;
  entry.hash = of_group;
  std::ranges::copy(tokens, state_->tokens_of(block.id_).begin());
  if (!entry.told) return;
  state_->digest.add(hash);
  state_->record({BlockEvent::Kind::stored, hash});
}

std::vector<BlockEvent> BlockPool::take_events() {
  const auto is_removal = [](const BlockEvent& event) { return event.kind == BlockEvent::Kind::removed; };
  const auto removals = std::ranges::count_if(state_->events, is_removal);
  const bool both = removals > 0 && removals < std::ssize(state_->events);
  if (both) state_->drop_undone_events();  // events of one kind cannot undo each other
  return std::exchange(state_->events, {});
}

BlockSetDigest BlockPool::digest() const { return state_->digest; }

std::vector<BlockHash> BlockPool::published() const {
  std::vector<BlockHash> hashes;
  hashes.reserve(state_->digest.count);
  for (const auto& [hash, id] : state_->by_hash)
    if (state_->at(id).told) hashes.push_back(hash);
  return hashes;
}

std::uint32_t BlockPool::generation(BlockId id) const { return state_->at(id).generation; }
std::size_t BlockPool::total() const { return state_->blocks.size(); }
std::size_t BlockPool::free() const { return state_->free.size(); }
std::size_t BlockPool::cached() const { return state_->cached; }
std::size_t BlockPool::in_use() const { return total() - free() - cached(); }
std::int32_t BlockPool::block_size() const { return state_->block_size; }
const KvGroups& BlockPool::groups() const { return state_->groups; }

}  // namespace baton
