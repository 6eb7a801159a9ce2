// BlockIndex: its rules one by one, then a seeded comparison with a model that does everything the slow way.
#include "baton/router/block_index.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "support/catch.hpp"

namespace baton {
namespace {

using Applied = BlockIndex::Applied;
using Hashes = std::vector<BlockHash>;

Hashes random_hashes(std::mt19937_64& random, std::size_t n) {
  Hashes hashes(n);
  for (BlockHash& hash : hashes) hash = {random(), random()};
  return hashes;
}

// An engine as its events describe it.
struct Source {
  std::set<BlockHash> blocks;
  std::uint64_t sequence = 0;

  BlockEventsMessage change(const Hashes& stored, const Hashes& removed) {
    blocks.insert(stored.begin(), stored.end());
    for (const BlockHash& hash : removed) blocks.erase(hash);
    return {++sequence, false, stored, removed, digest()};
  }
  BlockEventsMessage snapshot() const {
    return {sequence, true, Hashes(blocks.begin(), blocks.end()), {}, digest()};
  }
  BlockSetDigest digest() const {
    BlockSetDigest digest;
    for (const BlockHash& hash : blocks) digest.add(hash);
    return digest;
  }
};

std::vector<std::uint32_t> match(const BlockIndex& index, const Hashes& hashes) {
  std::vector<std::uint32_t> held;
  index.match(hashes, held);
  return held;
}

std::uint32_t leading(const std::set<BlockHash>& blocks, const Hashes& hashes) {
  std::uint32_t n = 0;
  while (n < hashes.size() && blocks.contains(hashes[n])) ++n;
  return n;
}

}  // namespace

TEST_CASE("a match counts each engine's leading blocks") {
  std::mt19937_64 random(1);
  const Hashes chain = random_hashes(random, 6);
  BlockIndex index;
  Source a, b, c;
  const NodeId ids[] = {index.add_node(), index.add_node(), index.add_node()};
  CHECK(index.apply(ids[0], a.change(chain, {})) == Applied::ok);
  CHECK(index.apply(ids[1], b.change({chain[0], chain[1], chain[3]}, {})) == Applied::ok);
  CHECK(index.apply(ids[2], c.change({chain[1], chain[2]}, {})) == Applied::ok);
  CHECK(match(index, chain) == std::vector<std::uint32_t>{6, 2, 0});
  CHECK(match(index, {}) == std::vector<std::uint32_t>{0, 0, 0});
  CHECK(match(index, random_hashes(random, 3)) == std::vector<std::uint32_t>{0, 0, 0});
  CHECK(index.size() == 11);

  CHECK(index.apply(ids[0], a.change({}, {chain[2]})) == Applied::ok);
  CHECK(match(index, chain) == std::vector<std::uint32_t>{2, 2, 0});
}

TEST_CASE("a gap is reported and applies nothing until a snapshot closes it") {
  std::mt19937_64 random(2);
  const Hashes chain = random_hashes(random, 4);
  BlockIndex index;
  Source source;
  const NodeId id = index.add_node();
  CHECK(index.apply(id, source.change({chain[0]}, {})) == Applied::ok);
  const auto lost = source.change({chain[1]}, {});
  CHECK(index.apply(id, source.change({chain[2]}, {})) == Applied::gap);
  CHECK(index.apply(id, source.change({chain[3]}, {})) == Applied::gap);
  CHECK(match(index, chain)[0] == 1);
  CHECK(index.gaps() == 1);  // not for each event

  const auto snapshot = source.snapshot();
  CHECK(index.apply(id, snapshot) == Applied::ok);
  CHECK(match(index, chain)[0] == 4);
  CHECK(index.apply(id, lost) == Applied::ok);  // late: the snapshot has it
  CHECK(index.apply(id, source.change({}, {chain[3]})) == Applied::ok);
  CHECK(match(index, chain)[0] == 3);
  CHECK(index.size() == 3);
}

TEST_CASE("an engine that joins with a history is asked for it, which counts as no gap") {
  BlockIndex index;
  Source source;
  source.sequence = 7;
  const NodeId id = index.add_node();
  CHECK(index.apply(id, source.change({{1, 2}}, {})) == Applied::gap);
  CHECK(index.gaps() == 0);
  CHECK(index.apply(id, source.snapshot()) == Applied::ok);
  CHECK(index.size() == 1);
}

TEST_CASE("events that come twice change nothing") {
  std::mt19937_64 random(3);
  BlockIndex index;
  Source source;
  const NodeId id = index.add_node();
  const auto first = source.change(random_hashes(random, 10), {});
  const auto second = source.change({}, {first.stored[0]});
  for (const auto& events : {first, second, first, second}) CHECK(index.apply(id, events) == Applied::ok);
  CHECK(index.size() == 9);
  CHECK(index.drifts() == 0);
}

TEST_CASE("drift shows in the digest, also in an empty event, and a snapshot ends it") {
  std::mt19937_64 random(4);
  const Hashes chain = random_hashes(random, 5);
  BlockIndex index;
  Source source;
  const NodeId id = index.add_node();
  CHECK(index.apply(id, source.change(chain, {})) == Applied::ok);

  SECTION("a stored hash is lost") {
    auto events = source.change(random_hashes(random, 3), {});
    events.stored.pop_back();
    CHECK(index.apply(id, events) == Applied::drift);
  }
  SECTION("a removal is lost") {
    auto events = source.change({}, {chain[4]});
    events.removed.clear();
    CHECK(index.apply(id, events) == Applied::drift);
  }
  SECTION("something else is stored") {
    auto events = source.change(random_hashes(random, 1), {});
    events.stored[0].low ^= 1;
    CHECK(index.apply(id, events) == Applied::drift);
  }
  SECTION("the engine changes without a word") {
    source.blocks.erase(chain[4]);
    CHECK(index.apply(id, source.change({}, {})) == Applied::drift);
  }
  CHECK(index.apply(id, source.change({}, {})) == Applied::drift);  // still
  CHECK(index.drifts() == 1);
  CHECK(index.apply(id, source.snapshot()) == Applied::ok);
  CHECK(index.apply(id, source.change(random_hashes(random, 1), {})) == Applied::ok);
  CHECK(index.size() == source.blocks.size());
  CHECK(match(index, chain)[0] == leading(source.blocks, chain));
}

TEST_CASE("one block may be held by every engine of a large cluster") {
  std::mt19937_64 random(5);
  constexpr std::size_t kNodes = 1500;
  const Hashes prompt = random_hashes(random, 3);
  BlockIndex index;
  std::vector<Source> sources(kNodes);
  for (std::size_t i = 0; i < kNodes; ++i) {
    const NodeId id = index.add_node();
    REQUIRE(id == i);
    Hashes held = prompt;
    held.resize(1 + i % 3);
    REQUIRE(index.apply(id, sources[i].change(held, {})) == Applied::ok);
  }
  auto held = match(index, prompt);
  REQUIRE(held.size() == kNodes);
  for (std::size_t i = 0; i < kNodes; ++i) REQUIRE(held[i] == 1 + i % 3);

  // And down again, by every size of the set.
  std::vector<NodeId> order(kNodes);
  for (std::size_t i = 0; i < kNodes; ++i) order[i] = static_cast<NodeId>(i);
  std::shuffle(order.begin(), order.end(), random);
  for (std::size_t i = 0; i < kNodes; ++i) {
    REQUIRE(index.apply(order[i], sources[order[i]].change({}, {prompt[0]})) == Applied::ok);
    if (i % 50 != 0 && i + 40 < kNodes) continue;
    held = match(index, prompt);
    for (std::size_t j = 0; j < kNodes; ++j) REQUIRE((held[order[j]] > 0) == (j > i));
  }
}

TEST_CASE("a forgotten engine's id is given out again, clean") {
  std::mt19937_64 random(6);
  const Hashes shared = random_hashes(random, 200);
  BlockIndex index;
  Source a, b, c;
  const NodeId first = index.add_node(), second = index.add_node();
  CHECK(index.apply(first, a.change(shared, {})) == Applied::ok);
  CHECK(index.apply(second, b.change(shared, {})) == Applied::ok);
  index.forget(first);
  CHECK(index.size() == shared.size());
  CHECK(match(index, shared) == std::vector<std::uint32_t>{0, 200});
  CHECK(index.add_node() == first);
  CHECK(match(index, shared)[first] == 0);
  CHECK(index.apply(first, c.change({shared[0]}, {})) == Applied::ok);  // numbered from 1 again
  CHECK(match(index, shared) == std::vector<std::uint32_t>{1, 200});
  index.forget(kNoNode);
  CHECK(index.apply(kNoNode, a.snapshot()) == Applied::ok);
  CHECK(index.size() == shared.size() + 1);
}

TEST_CASE("what does not fit is counted and forgotten, and nothing else becomes wrong") {
  std::mt19937_64 random(7);
  const std::size_t limit = GENERATE(0, 1000, 60'000, 2'000'000);
  INFO("limit " << limit);
  BlockIndex index(limit);
  const NodeId ids[] = {index.add_node(), index.add_node(), index.add_node(), index.add_node()};
  std::vector<Source> sources(4);
  const Hashes shared = random_hashes(random, 2000);
  std::size_t stored = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    Hashes hashes = random_hashes(random, 60'000);
    hashes.insert(hashes.begin(), shared.begin(), shared.end());
    stored += hashes.size();
    REQUIRE(index.apply(ids[i], sources[i].change(hashes, {})) == Applied::ok);
    REQUIRE(index.memory_bytes() <= limit);
  }
  if (ids[0] == kNoNode) {
    CHECK(index.size() == 0);
    return;
  }
  CHECK(index.dropped() == stored - index.size());
  CHECK(index.dropped() > 0);
  for (std::size_t i = 0; i < 4; ++i) {  // a hit is never invented; every removal is taken, remembered or not
    for (const BlockHash& hash : shared) REQUIRE(match(index, {hash})[ids[i]] <= 1);
    const Hashes all(sources[i].blocks.begin(), sources[i].blocks.end());
    REQUIRE(index.apply(ids[i], sources[i].change({}, all)) == Applied::ok);
    for (const BlockHash& hash : shared) REQUIRE(match(index, {hash})[ids[i]] == 0);
  }
  CHECK(index.size() == 0);
  CHECK(index.drifts() == 0);
  const Hashes again = random_hashes(random, 5);
  CHECK(index.apply(ids[0], sources[0].change(again, {})) == Applied::ok);
  if (limit > 1000) CHECK(match(index, again)[ids[0]] == 5);  // there is room again
}

TEST_CASE("hashes that are not uniform cost time, never a wrong answer") {
  std::mt19937_64 random(8);
  for (const std::uint64_t high : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    BlockIndex index(4 << 20);
    Source source;
    const NodeId id = index.add_node();
    Hashes hashes(1000);
    for (BlockHash& hash : hashes) hash = {high, random() & 0xffff00};
    hashes.push_back({0, 0});
    hashes.push_back({~std::uint64_t{0}, ~std::uint64_t{0}});
    REQUIRE(index.apply(id, source.change(hashes, {})) == Applied::ok);
    CHECK(index.size() == source.blocks.size());
    for (const BlockHash& hash : source.blocks) REQUIRE(match(index, {hash})[id] == 1);
    CHECK(index.apply(id, source.change({}, hashes)) == Applied::ok);
    CHECK(index.size() == 0);
    for (const BlockHash& hash : hashes) REQUIRE(match(index, {hash})[id] == 0);
  }
}

TEST_CASE("random use agrees with a slow model of the index") {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    const auto pick = [&](std::size_t n) { return random() % n; };
    BlockIndex index;
    std::map<NodeId, Source> nodes;
    std::map<NodeId, std::set<BlockHash>> known;  // what the index must say: the engine, or before a gap
    const Hashes pool = random_hashes(random, 20 + pick(4000));
    const auto any_node = [&] {
      return std::next(nodes.begin(), static_cast<long>(pick(nodes.size())))->first;
    };

    for (int step = 0; step < 1500; ++step) {
      const std::size_t what = nodes.empty() ? 0 : pick(40);
      if (what == 0 && nodes.size() < 80) {
        const NodeId id = index.add_node();
        REQUIRE_FALSE(nodes.contains(id));
        nodes[id] = {};
        known[id] = {};
      } else if (what == 1 && pick(3) == 0) {
        const NodeId id = any_node();
        index.forget(id);
        nodes.erase(id);
        known.erase(id);
      } else if (what == 2) {
        const NodeId id = any_node();
        REQUIRE(index.apply(id, nodes[id].snapshot()) == Applied::ok);
        known[id] = nodes[id].blocks;
      } else {
        const NodeId id = any_node();
        Source& source = nodes[id];
        Hashes stored, removed;
        std::set<BlockHash> touched;
        for (std::size_t i = pick(150); i > 0; --i) {
          const BlockHash& hash = pool[pick(pool.size())];
          if (!touched.insert(hash).second) continue;
          (source.blocks.contains(hash) ? removed : stored).push_back(hash);
        }
        const bool in_step = known[id] == source.blocks;
        const auto events = source.change(stored, removed);
        if (pick(30) == 0) continue;  // lost
        const Applied applied = index.apply(id, events);
        if (in_step && applied == Applied::ok) {
          known[id] = source.blocks;
        } else {  // (blocks may be equal by chance although a message is missing)
          REQUIRE(applied == Applied::gap);
          REQUIRE(index.apply(id, source.snapshot()) == Applied::ok);
          known[id] = source.blocks;
        }
      }
      std::size_t pairs = 0;
      for (const auto& [id, blocks] : known) pairs += blocks.size();
      REQUIRE(index.size() == pairs);
      if (pick(5) != 0) continue;
      Hashes prompt(1 + pick(6));
      for (BlockHash& hash : prompt) hash = pool[pick(pool.size())];
      if (!nodes.empty() && pick(2) == 0)  // one that somebody holds for a while
      {
        const auto& blocks = known[any_node()];
        prompt.assign(blocks.begin(), blocks.end());
      }
      const auto held = match(index, prompt);
      for (std::size_t id = 0; id < held.size(); ++id) {
        const auto found = known.find(static_cast<NodeId>(id));
        REQUIRE(held[id] == (found == known.end() ? 0 : leading(found->second, prompt)));
      }
    }
    CHECK(index.drifts() == 0);
    CHECK(index.dropped() == 0);
  }
}

}  // namespace baton
