// BlockTable: from a block's hash to its holders. Open addressing in buckets of two cache lines: six slots of
// 20 bytes, a tag byte for each, and four counts, 21.3 bytes a slot, at a load between 0.64 and 0.8.
//
// A hash lies in its home bucket or, where that was full, in the next one with room. Every bucket counts the
// hashes that passed it by, so a search ends where that is 0, and erasing leaves no tombstone: it counts down
// along the same way (as F14 does: Bronson and Shi, "Open-sourcing F14", 2019). It counts apart for four
// classes of hashes, so that a search goes on in vain a quarter as often. Most searches read the home bucket
// only, which `prefetch` loads.
//
// The table is cut by the hashes' leading bits into shards that grow each for itself, by a quarter: nobody
// waits for a copy of the whole, and little is allocated ahead. They are large enough for huge pages: at
// random places of small ones, the page's address takes as long to find as the line. The hashes are uniform
// (XXH3), which nothing depends on but speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "baton/cache/block.hpp"
#include "baton/tensor/buffer.hpp"
#include "router/holder_sets.hpp"
#include "router/memory_budget.hpp"

namespace baton {

class BlockTable {
 public:
  // `shards` is a power of two.
  BlockTable(std::size_t shards, MemoryBudget& budget);

  // Starts to load what a search for this hash reads first: kAhead hashes before it, since what is more than
  // a core can track (some 20 lines) is dropped. (always_inline: GCC takes a function that only prefetches
  // for one without effect and drops the calls.)
  [[gnu::always_inline]] void prefetch(const BlockHash& hash) const {
    const Shard& shard = shards_[shard_of(hash)];
    if (shard.count != 0) prefetch(shard.buckets + home(shard, hash));
  }
  // And what it reads then, where the home bucket is full, as it is for many that are inserted. kNextAhead
  // hashes before the search, when the home bucket has come.
  [[gnu::always_inline]] void prefetch_next(const BlockHash& hash) const {
    const Shard& shard = shards_[shard_of(hash)];
    if (shard.count == 0) return;
    const std::uint32_t at = home(shard, hash);
    if (shard.buckets[at].free_slots() == 0) prefetch(shard.buckets + next(shard, at));
  }
  static constexpr std::size_t kAhead = 16;
  static constexpr std::size_t kNextAhead = 6;

  // Null where it is not here. Valid until the next call of insert, erase or sweep.
  Holders* find(const BlockHash& hash) { return const_cast<Holders*>(std::as_const(*this).find(hash)); }
  const Holders* find(const BlockHash& hash) const;
  // Finds it or makes room for it, with 0 holders. Null where there is no memory for it.
  Holders* insert(const BlockHash& hash);
  void erase(const BlockHash& hash, const Holders* found);

  // Visits all holders once; a slot where `visit` leaves 0 is given up. One pass over the table.
  template <class Visit>
  void sweep(const Visit& visit) {
    for (Shard& shard : shards_) {
      for (std::uint32_t b = 0; b < shard.count; ++b) {
        Bucket& bucket = shard.buckets[b];
        for (unsigned slot = 0; slot < kSlots; ++slot) {
          if (!bucket.taken(slot)) continue;
          visit(bucket.holders[slot]);
          if (bucket.holders[slot] == 0) free_slot(shard, bucket, slot);
        }
      }
    }
  }

 private:
  static constexpr unsigned kSlots = 6;
  static constexpr std::uint64_t kMany = 0xf;
  static constexpr std::uint64_t kLowBits = 0x0000'0101'0101'0101;   // of each slot's tag
  static constexpr std::uint64_t kHighBits = 0x0000'8080'8080'8080;  // likewise

  // The high bit of each tag that is 0. Above a tag that is, one that is not may be reported, too.
  static std::uint64_t zero_tags(std::uint64_t tags) { return (tags - kLowBits) & ~tags & kHighBits; }

  struct alignas(64) Bucket {  // empty where all is zero
    std::uint64_t meta;        // from the low end: a tag for each slot, 0 where it is free; then `passed`
    Holders holders[kSlots];
    BlockHash hashes[kSlots];

    std::uint64_t free_slots() const { return zero_tags(meta); }
    bool taken(unsigned slot) const { return (meta >> (8 * slot) & 0xff) != 0; }
    // How many of this hash's class found no place here and lie further on; kMany stands for more, too, and
    // is never counted down.
    std::uint64_t passed(const BlockHash& hash) const { return meta >> class_shift(hash) & kMany; }
    void count_passed(const BlockHash& hash, bool up);
    static unsigned class_shift(const BlockHash& hash) {
      return 48 + 4 * static_cast<unsigned>(hash.low >> 8 & 3);
    }
  };
  static_assert(sizeof(Bucket) == 128);

  struct Shard {
    Buffer memory;
    Bucket* buckets = nullptr;
    std::uint32_t count = 0;  // of buckets
    std::uint32_t size = 0;   // slots taken
  };
  [[gnu::always_inline]] static void prefetch(const Bucket* bucket) {
    __builtin_prefetch(bucket);
    __builtin_prefetch(bucket->hashes + 2);  // the second line
  }
  std::size_t shard_of(const BlockHash& hash) const { return (hash.high >> 1) >> (63 - bits_); }
  std::uint32_t home(const Shard& shard, const BlockHash& hash) const {
    return static_cast<std::uint32_t>(((hash.high << bits_) >> 32) * shard.count >> 32);
  }
  static std::uint32_t next(const Shard& shard, std::uint32_t bucket) {
    return bucket + 1 == shard.count ? 0 : bucket + 1;
  }
  Holders& place(Shard& shard, const BlockHash& hash);  // which is not here; there is a free slot
  void free_slot(Shard& shard, Bucket& bucket, unsigned slot);
  bool grow(Shard& shard);

  const int bits_;
  MemoryBudget& budget_;
  std::vector<Shard> shards_;
};

}  // namespace baton
