// HolderSets: which engines hold one block, in 32 bits where there are at most two, which nearly every block
// has: the engine that computed it and the one that it was handed to. What more engines hold (a system
// prompt: all of them) refers to a record, a short list or, beyond that, a bitset over all ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baton/router/block_index.hpp"
#include "router/record_pool.hpp"

namespace baton {

// 0: nobody. Bit 31 clear: one or two ids, each plus one, of 15 bits. Bit 31 set: a record, whose index is in
// the low 30 bits; of the bitsets where bit 30 is set, else of the lists.
using Holders = std::uint32_t;

class HolderSets {
 public:
  static constexpr std::size_t kMaxNodes = (1 << 15) - 1;

  explicit HolderSets(MemoryBudget& budget) : lists_(kListWords, budget), bitsets_(kLeastWords, budget) {}

  enum class Added : std::uint8_t { added, present, full };  // full: there is no memory to remember it
  Added add(Holders& holders, NodeId node);
  bool remove(Holders& holders, NodeId node);  // false where it was not in it
  // Bit i of `set` (words() words) says whether engine i is in it.
  void read(Holders holders, std::span<std::uint64_t> set) const;

  bool make_room_for(NodeId node);  // before the first add of it; false where there is no memory for it
  std::size_t words() const { return bitsets_.words(); }

 private:
  static constexpr std::size_t kListWords = 16;  // the count, then the ids: half a cache line
  static constexpr std::size_t kListIds = kListWords - 1;
  static constexpr std::size_t kLeastWords = 4;

  Added add_to_list(Holders& holders, NodeId node);
  Added add_to_bitset(Holders holders, NodeId node);
  bool remove_from_list(Holders& holders, NodeId node);
  bool remove_from_bitset(Holders& holders, NodeId node);

  RecordPool<std::uint16_t> lists_;
  RecordPool<std::uint64_t> bitsets_;
};

}  // namespace baton
