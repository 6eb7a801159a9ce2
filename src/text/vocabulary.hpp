// A string-to-id map for vocabularies: hundreds of thousands of short keys, read only after loading.
//
// One arena holds all keys and one flat table with open addressing finds them: a lookup touches two cache
// lines, where std::unordered_map chases pointers. Invariant: the table is at most half full, so probing
// ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace baton::text {

inline constexpr TokenId kNoToken = -1;

class Vocabulary {
 public:
  // `bytes` and `keys` are expectations, not limits.
  void reserve(std::size_t keys, std::size_t bytes);
  // A key that is there already gets the new id.
  void insert(std::string_view key, TokenId id);
  TokenId find(std::string_view key) const;  // kNoToken where absent

  std::size_t size() const { return entries_.size(); }
  std::size_t longest_key() const { return longest_; }  // bytes

 private:
  struct Entry {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    TokenId id = kNoToken;
  };
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t entry = 0;  // index into entries_ plus one; 0 is an empty slot
  };
  void rehash(std::size_t slots);
  std::string_view key_of(const Entry& entry) const { return {arena_.data() + entry.offset, entry.length}; }

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
  std::size_t longest_ = 0;
};

}  // namespace baton::text
