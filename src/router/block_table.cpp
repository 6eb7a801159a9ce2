#include "router/block_table.hpp"

#include <algorithm>
#include <bit>

namespace baton {
namespace {

std::uint64_t tag_of(const BlockHash& hash) { return std::max<std::uint64_t>(hash.low & 0xff, 1); }

unsigned lowest_slot(std::uint64_t tags) { return static_cast<unsigned>(std::countr_zero(tags)) / 8; }

}  // namespace

BlockTable::BlockTable(std::size_t shards, MemoryBudget& budget)
    : bits_(std::countr_zero(shards)), budget_(budget), shards_(shards) {}

void BlockTable::Bucket::count_passed(const BlockHash& hash, bool up) {
  if (passed(hash) == kMany) return;
  const std::uint64_t one = std::uint64_t{1} << class_shift(hash);
  meta = up ? meta + one : meta - one;
}

const Holders* BlockTable::find(const BlockHash& hash) const {
  const Shard& shard = shards_[shard_of(hash)];
  const std::uint64_t tags = tag_of(hash) * kLowBits;
  std::uint32_t at = home(shard, hash);
  for (std::uint32_t searched = 0; searched < shard.count; ++searched) {
    const Bucket& bucket = shard.buckets[at];
    for (std::uint64_t equal = zero_tags(bucket.meta ^ tags); equal != 0; equal &= equal - 1) {
      const unsigned slot = lowest_slot(equal);
      if (bucket.hashes[slot] == hash && bucket.taken(slot)) return &bucket.holders[slot];
    }
    if (bucket.passed(hash) == 0) break;
    at = next(shard, at);
  }
  return nullptr;
}

Holders* BlockTable::insert(const BlockHash& hash) {
  if (Holders* found = find(hash)) return found;
  Shard& shard = shards_[shard_of(hash)];
  const bool full = shard.size >= shard.count * std::uint64_t{kSlots} / 5 * 4;
  if (full && !grow(shard)) return nullptr;
  ++shard.size;
  return &place(shard, hash);
}

void BlockTable::erase(const BlockHash& hash, const Holders* found) {
  Shard& shard = shards_[shard_of(hash)];
  const auto offset = reinterpret_cast<const std::byte*>(found) - shard.memory.data();
  Bucket& bucket = shard.buckets[static_cast<std::size_t>(offset) / sizeof(Bucket)];
  free_slot(shard, bucket, static_cast<unsigned>(found - bucket.holders));
}

Holders& BlockTable::place(Shard& shard, const BlockHash& hash) {
  std::uint32_t at = home(shard, hash);
  while (shard.buckets[at].free_slots() == 0) {
    shard.buckets[at].count_passed(hash, true);
    at = next(shard, at);
  }
  Bucket& bucket = shard.buckets[at];
  const unsigned slot = lowest_slot(bucket.free_slots());
  bucket.meta |=
      tag_of(hash) << (8 * slot);  // NOLINT(clang-analyzer-core.UndefinedBinaryOperatorResult): one is free
  bucket.hashes[slot] = hash;
  bucket.holders[slot] = 0;
  return bucket.holders[slot];
}

void BlockTable::free_slot(Shard& shard, Bucket& bucket, unsigned slot) {
  const BlockHash& hash = bucket.hashes[slot];
  for (std::uint32_t at = home(shard, hash); &shard.buckets[at] != &bucket; at = next(shard, at))
    shard.buckets[at].count_passed(hash, false);
  bucket.meta &= ~(std::uint64_t{0xff} << (8 * slot));
  --shard.size;
}

bool BlockTable::grow(Shard& shard) {
  const std::uint32_t count = shard.count + std::max(shard.count / 4, 4U);
  if (count > std::uint32_t{1} << 28 || !budget_.take(count * sizeof(Bucket))) return false;
  auto memory = Buffer::allocate(Device{}, count * sizeof(Bucket), {.huge_pages = true});
  if (!memory) {
    budget_.give(count * sizeof(Bucket));
    return false;
  }
  auto* const buckets = reinterpret_cast<Bucket*>(memory->data());
  Shard wider{*std::move(memory), buckets, count, shard.size};
  for (std::uint32_t b = 0; b < shard.count; ++b) {
    const Bucket& bucket = shard.buckets[b];
    for (unsigned slot = 0; slot < kSlots; ++slot)
      if (bucket.taken(slot)) place(wider, bucket.hashes[slot]) = bucket.holders[slot];
  }
  budget_.give(shard.count * sizeof(Bucket));
  shard = std::move(wider);
  return true;
}

}  // namespace baton
