// BlockPool: the rules one by one, then a seeded comparison with a model that does everything the slow way.
#include "baton/cache/block_pool.hpp"

#include <algorithm>
#include <list>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "support/catch.hpp"

namespace baton {
namespace {

constexpr std::int32_t kBlockSize = 4;
const BlockHashKey kKey = make_block_hash_key("secret", {1, 2}, "bf16", "");

std::vector<TokenId> text(std::size_t blocks, TokenId first = 0) {
  std::vector<TokenId> tokens(blocks * kBlockSize);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::span<const TokenId> block_of(const std::vector<TokenId>& tokens, std::size_t i) {
  return std::span(tokens).subspan(i * kBlockSize, kBlockSize);
}

// Allocates and publishes the whole text; the caller holds the pins.
std::vector<BlockRef> store(BlockPool& pool, const std::vector<TokenId>& tokens) {
  const auto hashes = block_hashes(tokens, kBlockSize, kKey);
  auto blocks = pool.allocate(hashes.size());
  REQUIRE(blocks);
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    pool.publish((*blocks)[i], hashes[i], block_of(tokens, i));
  }
  return std::move(*blocks);
}

std::size_t cached_prefix(BlockPool& pool, const std::vector<TokenId>& tokens) {
  return pool.match_length(block_hashes(tokens, kBlockSize, kKey), tokens);
}

TEST_CASE("block hashes chain over full blocks and depend on every part of the key") {
  std::vector<TokenId> tokens = text(3);
  tokens.push_back(99);  // a partial block has no hash
  const auto hashes = block_hashes(tokens, kBlockSize, kKey);
  REQUIRE(hashes.size() == 3);
  CHECK(hashes[0] == next_block_hash(kKey.key, block_of(tokens, 0)));
  CHECK(hashes[2] == next_block_hash(hashes[1], block_of(tokens, 2)));

  tokens[0] = 77;  // an early token changes all later hashes
  const auto other = block_hashes(tokens, kBlockSize, kKey);
  for (std::size_t i = 0; i < 3; ++i) CHECK(other[i] != hashes[i]);

  const std::set<BlockHash> keys = {
      kKey.key,
      make_block_hash_key("secreT", {1, 2}, "bf16", "").key,
      make_block_hash_key("secret", {1, 3}, "bf16", "").key,
      make_block_hash_key("secret", {2, 2}, "bf16", "").key,
      make_block_hash_key("secret", {1, 2}, "fp32", "").key,
      make_block_hash_key("secret", {1, 2}, "bf16", "tenant").key,
      make_block_hash_key("secret", {1, 2}, "bf16t", "enant").key,
  };
  CHECK(keys.size() == 7);
}

TEST_CASE("a block is free, in use or cached, and destroying its pins returns it") {
  BlockPool pool(4, kBlockSize);
  CHECK(pool.free() == 4);
  {
    const std::vector<BlockRef> stored = store(pool, text(2));
    const auto anonymous = pool.allocate(1);
    REQUIRE(anonymous);
    CHECK(pool.in_use() == 3);
    CHECK(pool.free() == 1);
    CHECK(pool.cached() == 0);
  }
  CHECK(pool.in_use() == 0);
  CHECK(pool.cached() == 2);
  CHECK(pool.free() == 2);
  CHECK(pool.available() == 4);
}

TEST_CASE("allocation is all or nothing and says what it lacks") {
  BlockPool pool(3, kBlockSize);
  const auto two = pool.allocate(2);
  REQUIRE(two);
  const auto more = pool.allocate(2);
  REQUIRE_FALSE(more);
  CHECK(more.error().code == ErrorCode::out_of_memory);
  CHECK(more.error().message.find("needs 2") != std::string::npos);
  CHECK(pool.in_use() == 2);
  CHECK(pool.allocate(0)->empty());
}

TEST_CASE("a pin can be shared and moved; the block returns with the last one") {
  BlockPool pool(1, kBlockSize);
  BlockRef first = std::move(pool.allocate(1)->front());
  BlockRef second = first.share();
  CHECK(second.id() == first.id());
  first.reset();
  first.reset();  // nothing left to release
  CHECK(pool.in_use() == 1);
  first = std::move(second);
  CHECK_FALSE(second);  // NOLINT: a moved-from ref is empty by contract
  CHECK(pool.in_use() == 1);
  first = BlockRef();
  CHECK(pool.free() == 1);
  CHECK_FALSE(BlockRef().share());
}

TEST_CASE("a match pins the longest cached run and compares tokens, not only hashes") {
  BlockPool pool(4, kBlockSize);
  const std::vector<TokenId> tokens = text(3);
  const auto hashes = block_hashes(tokens, kBlockSize, kKey);
  store(pool, tokens);
  {
    const auto hit = pool.match(hashes, tokens);
    CHECK(hit.size() == 3);
    CHECK(pool.in_use() == 3);
    CHECK(pool.cached() == 0);
  }
  std::vector<TokenId> forged = tokens;  // as if its hash collided
  forged[5] = 1000;
  CHECK(pool.match_length(hashes, forged) == 1);
  CHECK(pool.match(hashes, forged).size() == 1);
  CHECK(pool.match(std::span(hashes).subspan(0, 2), tokens).size() == 2);
  CHECK(pool.in_use() == 0);
  CHECK(pool.contains(hashes[2]));
  CHECK_FALSE(pool.contains(kKey.key));
}

TEST_CASE("the second block under a hash stays anonymous, and publishing twice changes nothing") {
  BlockPool pool(4, kBlockSize);
  const std::vector<TokenId> tokens = text(1);
  const BlockHash hash = block_hashes(tokens, kBlockSize, kKey)[0];
  auto first = store(pool, tokens);
  auto second = store(pool, tokens);
  pool.publish(first[0], hash, tokens);
  CHECK(pool.take_events().size() == 1);
  CHECK(pool.match(std::span(&hash, 1), tokens).at(0).id() == first[0].id());
  second.clear();
  CHECK(pool.free() == 3);
  first.clear();
  CHECK(pool.cached() == 1);
}

TEST_CASE("eviction takes the least recently released, and of a chain its tail first") {
  BlockPool pool(6, kBlockSize);
  const std::vector<TokenId> a = text(3, 0), b = text(3, 100);
  SequenceBlocks blocks_a, blocks_b;
  blocks_a.append(store(pool, a));
  blocks_b.append(store(pool, b));
  blocks_a.clear();
  CHECK(blocks_a.empty());
  blocks_b.clear();

  auto taken = pool.allocate(1);
  CHECK(cached_prefix(pool, a) == 2);
  CHECK(cached_prefix(pool, b) == 3);

  auto hit = pool.match(block_hashes(a, kBlockSize, kKey), a);  // a use makes a's head younger than b
  hit.clear();
  auto three = pool.allocate(3);
  REQUIRE(three);
  CHECK(cached_prefix(pool, b) == 0);
  CHECK(cached_prefix(pool, a) == 2);
}

TEST_CASE("a head shared by two chains outlives both tails") {
  BlockPool pool(4, kBlockSize);
  std::vector<TokenId> a = text(2), b = text(2);
  b[kBlockSize] = 500;
  SequenceBlocks blocks_a;
  blocks_a.append(store(pool, a));
  const auto hashes_b = block_hashes(b, kBlockSize, kKey);
  SequenceBlocks blocks_b = pool.match(std::span(hashes_b).first(1), b);
  blocks_b.append(*pool.allocate(1));
  pool.publish(blocks_b.at(1), hashes_b[1], block_of(b, 1));
  blocks_b.clear();
  blocks_a.clear();
  auto one = pool.allocate(3);  // one free block, then b's tail, then a's
  REQUIRE(one);
  CHECK(cached_prefix(pool, a) == 1);
}

TEST_CASE("the generation rises exactly when a block is handed out afresh") {
  BlockPool pool(1, kBlockSize);
  const std::vector<TokenId> tokens = text(1);
  auto blocks = store(pool, tokens);
  const std::uint32_t generation = pool.generation(0);
  blocks.clear();
  pool.match(block_hashes(tokens, kBlockSize, kKey), tokens).clear();
  CHECK(pool.generation(0) == generation);
  CHECK(pool.allocate(1));
  CHECK(pool.generation(0) == generation + 1);
}

TEST_CASE("events tell a listener what is published, and stay bounded where nobody listens") {
  BlockPool pool(2, kBlockSize);
  const auto hashes = block_hashes(text(1, 7), kBlockSize, kKey);
  store(pool, text(1, 7)).clear();
  store(pool, text(2, 50)).clear();
  const auto events = pool.take_events();
  REQUIRE(events.size() == 2);  // the first text came and went
  for (const BlockEvent& event : events) {
    CHECK(event.kind == BlockEvent::Kind::stored);
    CHECK(event.hash != hashes[0]);
  }
  CHECK(pool.take_events().empty());

  std::vector<BlockHash> before = pool.published();
  for (TokenId i = 0; i < 500; ++i) store(pool, text(2, 1000 + i)).clear();
  const auto compact = pool.take_events();
  CHECK(compact.size() < 60);
  std::set<BlockHash> mirror(before.begin(), before.end());
  for (const BlockEvent& event : compact) {
    if (event.kind == BlockEvent::Kind::stored) {
      CHECK(mirror.insert(event.hash).second);
    } else {
      CHECK(mirror.erase(event.hash) == 1);
    }
  }
  const auto now = pool.published();
  CHECK(mirror == std::set<BlockHash>(now.begin(), now.end()));
}

// The slow model: pins per block, the published hash, and the eviction order as a plain list.
struct Model {
  std::map<BlockId, int> pins;
  std::map<BlockId, BlockHash> hash;
  std::list<BlockId> cached;  // oldest first

  void unpin(BlockId id) {
    if (--pins[id] > 0) return;
    pins.erase(id);
    if (hash.contains(id)) cached.push_back(id);
  }
  std::set<BlockHash> published() const {
    std::set<BlockHash> all;
    for (const auto& [id, h] : hash) all.insert(h);
    return all;
  }
};

TEST_CASE("random use agrees with a slow model of the pool") {
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t n) { return random() % n; };
    const std::size_t total = 1 + pick(12);
    BlockPool pool(static_cast<std::int32_t>(total), kBlockSize);
    Model model;
    std::vector<BlockRef> held;
    std::set<BlockHash> mirror;  // from the events alone

    for (int step = 0; step < 2000; ++step) {
      switch (pick(5)) {
        case 0: {  // allocate
          const std::size_t n = pick(4);
          auto fresh = pool.allocate(n);
          REQUIRE(fresh.has_value() == (n + model.pins.size() <= total));
          if (!fresh) break;
          for (BlockRef& block : *fresh) {
            REQUIRE_FALSE(model.pins.contains(block.id()));
            if (model.hash.contains(block.id())) {  // evicted: it must have been the oldest
              REQUIRE(model.cached.front() == block.id());
              model.cached.pop_front();
              model.hash.erase(block.id());
            }
            model.pins[block.id()] = 1;
            held.push_back(std::move(block));
          }
          break;
        }
        case 1: {  // publish one of a few texts
          if (held.empty()) break;
          const BlockRef& block = held[pick(held.size())];
          const std::vector<TokenId> tokens = text(1, static_cast<TokenId>(pick(8)));
          const BlockHash hash = block_hashes(tokens, kBlockSize, kKey)[0];
          if (model.hash.contains(block.id())) break;
          pool.publish(block, hash, tokens);
          if (!model.published().contains(hash)) model.hash[block.id()] = hash;
          break;
        }
        case 2: {  // match
          const std::vector<TokenId> tokens = text(1, static_cast<TokenId>(pick(8)));
          const auto hashes = block_hashes(tokens, kBlockSize, kKey);
          auto hit = pool.match(hashes, tokens);
          REQUIRE(hit.size() == model.published().count(hashes[0]));
          if (hit.empty()) break;
          const BlockRef& block = hit.at(0);
          REQUIRE(model.hash.at(block.id()) == hashes[0]);
          if (model.pins[block.id()]++ == 0) model.cached.remove(block.id());
          held.push_back(block.share());
          break;
        }
        case 3:  // share
          if (held.empty() || held.size() > 30) break;
          held.push_back(held[pick(held.size())].share());
          ++model.pins[held.back().id()];
          break;
        default:  // release
          if (held.empty()) break;
          std::swap(held[pick(held.size())], held.back());
          model.unpin(held.back().id());
          held.pop_back();
      }
      REQUIRE(pool.in_use() == model.pins.size());
      REQUIRE(pool.cached() == model.cached.size());
      REQUIRE(pool.free() + pool.in_use() + pool.cached() == total);
      if (pick(50) == 0) {
        std::set<BlockHash> touched;
        for (const BlockEvent& event : pool.take_events()) {
          REQUIRE(touched.insert(event.hash).second);
          if (event.kind == BlockEvent::Kind::stored) {
            REQUIRE(mirror.insert(event.hash).second);
          } else {
            REQUIRE(mirror.erase(event.hash) == 1);
          }
        }
        REQUIRE(mirror == model.published());
        BlockSetDigest digest;
        for (const BlockHash& hash : mirror) digest.add(hash);
        REQUIRE(pool.digest() == digest);
      }
    }
    held.clear();
    REQUIRE(pool.in_use() == 0);
  }
}

}  // namespace
}  // namespace baton
