#include "text/vocabulary.hpp"

#include <algorithm>
#include <bit>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace baton::text {
namespace {

std::uint64_t hash_of(std::string_view key) { return XXH3_64bits(key.data(), key.size()); }

}  // namespace

void Vocabulary::reserve(std::size_t keys, std::size_t bytes) {
  arena_.reserve(bytes);
  entries_.reserve(keys);
  rehash(std::bit_ceil(std::max<std::size_t>(16, keys * 2)));
}

void Vocabulary::insert(std::string_view key, TokenId id) {
  if ((entries_.size() + 1) * 2 > slots_.size()) rehash(std::max<std::size_t>(16, slots_.size() * 2));
  const std::uint64_t hash = hash_of(key);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    Slot& slot = slots_[i];
    if (slot.entry == 0) {
      entries_.push_back({arena_.size(), static_cast<std::uint32_t>(key.size()), id});
      arena_.append(key);
      longest_ = std::max(longest_, key.size());
      slot = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(entries_.size())};
      return;
    }
    Entry& entry = entries_[slot.entry - 1];
    if (slot.hash == static_cast<std::uint32_t>(hash >> 32) && key_of(entry) == key) {
      entry.id = id;
      return;
    }
  }
}

TokenId Vocabulary::find(std::string_view key) const {
  if (slots_.empty()) return kNoToken;
  const std::uint64_t hash = hash_of(key);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.entry == 0) return kNoToken;
    if (slot.hash != static_cast<std::uint32_t>(hash >> 32)) continue;
    const Entry& entry = entries_[slot.entry - 1];
    if (key_of(entry) == key) return entry.id;
  }
}

void Vocabulary::rehash(std::size_t slots) {
  slots_.assign(slots, {});
  const std::size_t mask = slots - 1;
  for (std::size_t e = 0; e < entries_.size(); ++e) {
    const std::uint64_t hash = hash_of(key_of(entries_[e]));
    std::size_t i = hash & mask;
    while (slots_[i].entry != 0) i = (i + 1) & mask;
    slots_[i] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(e + 1)};
  }
}

}  // namespace baton::text
