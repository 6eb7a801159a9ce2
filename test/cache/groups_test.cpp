// Groups of KV blocks: what a sequence keeps of each, what is found again, and what is told of it.
#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "baton/cache/block_pool.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

constexpr std::int32_t kBlockSize = 4;
const BlockHashKey kKey = make_block_hash_key("secret", {1, 2}, "bf16", "");
const KvGroups kGroups{.full = 1, .windowed = 2, .window = 6};

std::vector<TokenId> text(std::size_t blocks, TokenId first = 0) {
  std::vector<TokenId> tokens(blocks * kBlockSize);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::span<const TokenId> block_of(std::span<const TokenId> tokens, std::size_t i) {
  return tokens.subspan(i * kBlockSize, kBlockSize);
}

// All of the text's blocks, published, as a step that computes everything at once leaves them.
SequenceBlocks store(BlockPool& pool, const std::vector<TokenId>& tokens) {
  const auto hashes = block_hashes(tokens, kBlockSize, kKey);
  const std::int32_t width = pool.groups().count();
  SequenceBlocks blocks(pool.groups());
  blocks.append(*pool.allocate(hashes.size() * static_cast<std::size_t>(width)));
  for (std::size_t i = 0; i < hashes.size(); ++i)
    for (std::int32_t group = 0; group < width; ++group)
      pool.publish(blocks.at(i, group), hashes[i], block_of(tokens, i), group);
  return blocks;
}

SequenceBlocks match(BlockPool& pool, const std::vector<TokenId>& tokens) {
  return pool.match(block_hashes(tokens, kBlockSize, kKey), tokens);
}

}  // namespace

TEST_CASE("blocks that the window leaves behind go back to the pool, those of other groups stay") {
  BlockPool pool(12, kBlockSize, kGroups);
  const std::vector<TokenId> tokens = text(4);
  SequenceBlocks blocks = store(pool, tokens);
  CHECK(pool.in_use() == 12);
  CHECK(blocks.pinned() == 12);
  blocks.leave_behind(2, 4);
  CHECK(pool.in_use() == 8);
  CHECK(pool.cached() == 4);
  CHECK(blocks.pinned() == 8);
  CHECK(blocks.size() == 4);
  CHECK(bool(blocks.at(1, 0)));
  CHECK_FALSE(blocks.at(1, 1));
  CHECK_FALSE(blocks.at(1, 2));
  CHECK(bool(blocks.at(2, 1)));
  std::vector<BlockId> ids(4);
  blocks.write_ids(1, ids);
  CHECK(ids == std::vector<BlockId>{blocks.at(2, 1).id(), blocks.at(2, 1).id(), blocks.at(2, 1).id(),
                                    blocks.at(3, 1).id()});
  blocks.write_ids(0, ids);
  for (std::size_t i = 0; i < 4; ++i) CHECK(ids[i] == blocks.at(i, 0).id());
  blocks.leave_behind(1, 4);  // nothing comes back
  CHECK(blocks.pinned() == 8);
  blocks.truncate(1);
  CHECK(blocks.pinned() == 1);
  blocks.append(*pool.allocate(3));
  blocks.leave_behind(2, 4);  // the new one, too
  CHECK(blocks.pinned() == 2);
  SequenceBlocks moved = std::move(blocks);
  CHECK(blocks.empty());  // NOLINT: by contract
  CHECK(moved.pinned() == 2);
  moved.clear();
  CHECK(pool.in_use() == 0);
}

TEST_CASE("a prefix needs the blocks of windowed groups that the next row sees, and no others") {
  BlockPool pool(100, kBlockSize, kGroups);
  const std::vector<TokenId> tokens = text(6);
  SequenceBlocks blocks = store(pool, tokens);
  blocks.leave_behind(4, 6);
  blocks.clear();
  auto fresh = pool.allocate(100 - 18);
  {
    const SequenceBlocks hit = match(pool, tokens);
    REQUIRE(hit.size() == 6);
    CHECK(hit.pinned() == 6 + 2 * 2);  // position 24 sees from 19 on: blocks 4 and 5
    CHECK_FALSE(hit.at(3, 1));
    CHECK(bool(hit.at(4, 1)));
    CHECK(hit.at(5, 0).id() != hit.at(5, 1).id());
    CHECK(hit.at(5, 1).id() != hit.at(5, 2).id());
    CHECK(pool.in_use() == 82 + 10);
  }
  // Those left behind were let go first: they are evicted first, and a shorter prefix misses them.
  auto more = pool.allocate(8);
  REQUIRE(more);
  CHECK(match(pool, tokens).size() == 6);
  CHECK(match(pool, text(5)).empty());  // position 20 sees from 15 on: block 3 is gone
  // One of the newest gone: the longest prefix that has all it sees is none.
  auto one = pool.allocate(1);
  REQUIRE(one);
  CHECK(match(pool, tokens).empty());
  CHECK(pool.contains(block_hashes(tokens, kBlockSize, kKey)[0]));
}

TEST_CASE("of what is left behind, a sequence's own goes first, and a prompt's in its turn") {
  for (const bool own : {false, true}) {
    BlockPool pool(24, kBlockSize, kGroups);
    const std::vector<TokenId> older = text(1, 900), tokens = text(6);
    store(pool, older).clear();
    SequenceBlocks blocks = store(pool, tokens);
    blocks.leave_behind(4, own ? 0 : 6);  // eight
    auto fresh = pool.allocate(3 + 8);
    REQUIRE(fresh);
    CHECK(match(pool, older).size() == (own ? 1U : 0U));
    CHECK(pool.cached() == 3);
  }
}

TEST_CASE("room for what is computed elsewhere leaves out what no window reaches") {
  BlockPool pool(20, kBlockSize, kGroups);
  SequenceBlocks blocks(kGroups);
  REQUIRE(pool.extend(blocks, 22));  // six blocks; position 22 sees from 17 on
  CHECK(blocks.size() == 6);
  CHECK(blocks.pinned() == 6 + 2 * 2);
  CHECK_FALSE(blocks.at(3, 2));
  CHECK(bool(blocks.at(4, 2)));
  CHECK_FALSE(pool.extend(blocks, 80));
  CHECK(blocks.pinned() == 10);
  CHECK(pool.in_use() == 10);
}

TEST_CASE("the cluster's index hears of the first group alone") {
  BlockPool pool(9, kBlockSize, kGroups);
  const std::vector<TokenId> tokens = text(3);
  const auto hashes = block_hashes(tokens, kBlockSize, kKey);
  store(pool, tokens).clear();
  CHECK(pool.take_events().size() == 3);
  CHECK(pool.published().size() == 3);
  CHECK(pool.digest().count == 3);
  auto all = pool.allocate(9);
  std::set<BlockHash> removed;
  for (const BlockEvent& event : pool.take_events()) {
    CHECK(event.kind == BlockEvent::Kind::removed);
    removed.insert(event.hash);
  }
  CHECK(removed == std::set<BlockHash>(hashes.begin(), hashes.end()));
  CHECK(pool.digest() == BlockSetDigest{});
}

TEST_CASE("whatever is cached, a match is the longest prefix that has all it needs") {
  std::mt19937 random(7);
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  int found = 0, shorter = 0;
  for (int round = 0; round < 4000; ++round) {
    const KvGroups groups{.full = between(0, 2), .windowed = between(1, 3), .window = between(1, 20)};
    const std::size_t length = static_cast<std::size_t>(between(1, 9));
    BlockPool pool(static_cast<std::int32_t>(length) * groups.count(), kBlockSize, groups);
    const std::vector<TokenId> tokens = text(length);
    const auto hashes = block_hashes(tokens, kBlockSize, kKey);
    std::set<std::pair<std::size_t, std::int32_t>> cached;
    for (std::size_t i = 0; i < length; ++i) {
      for (std::int32_t group = 0; group < groups.count(); ++group) {
        auto block = pool.allocate(1);
        if (between(0, 7) == 0) continue;  // missing; handed out again
        pool.publish(block->front(), hashes[i], block_of(tokens, i), group);
        cached.emplace(i, group);
      }
    }
    std::size_t longest = length;
    const auto suits = [&] {
      for (std::size_t i = 0; i < longest; ++i)
        for (std::int32_t group = 0; group < groups.count(); ++group) {
          const auto end = static_cast<std::int32_t>((i + 1) * kBlockSize),
                     next = static_cast<std::int32_t>(longest) * kBlockSize;
          const bool needed = group < groups.full || end > next + 1 - groups.window;
          if (needed && !cached.contains({i, group})) return false;
        }
      return true;
    };
    while (!suits()) --longest;
    REQUIRE(pool.match_length(hashes, tokens) == longest);
    const SequenceBlocks hit = pool.match(hashes, tokens);
    REQUIRE(hit.size() == longest);
    found += longest > 0;
    shorter += longest > 0 && longest < length;
  }
  CHECK(found > 1000);
  CHECK(shorter > 300);
}

}  // namespace baton
