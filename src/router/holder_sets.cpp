#include "router/holder_sets.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace baton {
namespace {

constexpr Holders kIdMask = 0x7fff;
constexpr int kSecondShift = 15;
constexpr Holders kRecord = Holders{1} << 31;
constexpr Holders kBitset = Holders{1} << 30;
constexpr Holders kIndexMask = kBitset - 1;
constexpr std::size_t kListAgain = 8;  // ids at which a bitset becomes a list: well below a full list

Holders inline_ids(Holders first, Holders second) { return first | second << kSecondShift; }
bool is_inline(Holders holders) { return (holders & kRecord) == 0; }
bool is_bitset(Holders holders) { return (holders & kBitset) != 0; }

std::uint64_t bit(NodeId node) { return std::uint64_t{1} << (node % 64); }

}  // namespace

HolderSets::Added HolderSets::add(Holders& holders, NodeId node) {
  if (!is_inline(holders)) {
    return is_bitset(holders) ? add_to_bitset(holders, node) : add_to_list(holders, node);
  }
  const Holders id = Holders{node} + 1;
  const Holders first = holders & kIdMask;
  const Holders second = holders >> kSecondShift;
  if (id == first || id == second) return Added::present;
  if (first == 0 || second == 0) {
    holders = first == 0 ? id : inline_ids(first, id);
    return Added::added;
  }
  const auto index = lists_.allocate();
  if (!index) return Added::full;
  const auto list = lists_.at(*index);
  list[0] = 3;
  list[1] = static_cast<NodeId>(first - 1);
  list[2] = static_cast<NodeId>(second - 1);
  list[3] = node;
  holders = kRecord | *index;
  return Added::added;
}

HolderSets::Added HolderSets::add_to_list(Holders& holders, NodeId node) {
  const std::uint32_t index = holders & kIndexMask;
  const auto list = lists_.at(index);
  const auto ids = list.subspan(1, list[0]);
  if (std::ranges::find(ids, node) != ids.end()) return Added::present;
  if (list[0] < kListIds) {
    list[++list[0]] = node;
    return Added::added;
  }
  const auto wide = bitsets_.allocate();
  if (!wide) return Added::full;
  const auto set = bitsets_.at(*wide);
  for (const NodeId id : ids) set[id / 64] |= bit(id);
  set[node / 64] |= bit(node);
  lists_.release(index);
  holders = kRecord | kBitset | *wide;
  return Added::added;
}

HolderSets::Added HolderSets::add_to_bitset(Holders holders, NodeId node) {
  std::uint64_t& word = bitsets_.at(holders & kIndexMask)[node / 64];
  if ((word & bit(node)) != 0) return Added::present;
  word |= bit(node);
  return Added::added;
}

bool HolderSets::remove(Holders& holders, NodeId node) {
  if (!is_inline(holders)) {
    return is_bitset(holders) ? remove_from_bitset(holders, node) : remove_from_list(holders, node);
  }
  const Holders id = Holders{node} + 1;
  const Holders first = holders & kIdMask;
  const Holders second = holders >> kSecondShift;
  if (id == first) {
    holders = second;
  } else if (id == second) {
    holders = first;
  } else {
    return false;
  }
  return true;
}

bool HolderSets::remove_from_list(Holders& holders, NodeId node) {
  const std::uint32_t index = holders & kIndexMask;
  const auto list = lists_.at(index);
  const auto ids = list.subspan(1, list[0]);
  const auto found = std::ranges::find(ids, node);
  if (found == ids.end()) return false;
  *found = ids.back();
  if (--list[0] == 2) {
    holders = inline_ids(Holders{list[1]} + 1, Holders{list[2]} + 1);
    lists_.release(index);
  }
  return true;
}

bool HolderSets::remove_from_bitset(Holders& holders, NodeId node) {
  const std::uint32_t index = holders & kIndexMask;
  const auto set = bitsets_.at(index);
  std::uint64_t& word = set[node / 64];
  if ((word & bit(node)) == 0) return false;
  word &= ~bit(node);
  std::size_t count = 0;
  for (const std::uint64_t w : set) count += static_cast<std::size_t>(std::popcount(w));
  if (count > kListAgain) return true;
  std::array<NodeId, kListAgain> ids;
  NodeId* end = ids.data();
  for (std::size_t i = 0; i < set.size(); ++i)
    for (std::uint64_t w = set[i]; w != 0; w &= w - 1)
      *end++ = static_cast<NodeId>(i * 64 + static_cast<std::size_t>(std::countr_zero(w)));
  if (count <= 2) {
    holders = 0;
    bitsets_.release(index);
    for (const NodeId* id = ids.data(); id != end; ++id) add(holders, *id);
    return true;
  }
  const auto narrow = lists_.allocate();
  if (!narrow) return true;  // then it stays a bitset
  const auto list = lists_.at(*narrow);
  list[0] = static_cast<std::uint16_t>(count);
  std::copy(ids.data(), end, list.begin() + 1);
  bitsets_.release(index);
  holders = kRecord | *narrow;
  return true;
}

void HolderSets::read(Holders holders, std::span<std::uint64_t> set) const {
  if (!is_inline(holders) && is_bitset(holders)) {
    std::ranges::copy(bitsets_.at(holders & kIndexMask), set.begin());
    return;
  }
  std::ranges::fill(set, 0);
  const auto put = [&](NodeId node) { set[node / 64] |= bit(node); };
  if (!is_inline(holders)) {
    const auto list = lists_.at(holders & kIndexMask);
    std::ranges::for_each(list.subspan(1, list[0]), put);
    return;
  }
  for (const Holders id : {holders & kIdMask, holders >> kSecondShift})
    if (id != 0) put(static_cast<NodeId>(id - 1));
}

bool HolderSets::make_room_for(NodeId node) {
  std::size_t words = bitsets_.words();
  while (node / std::size_t{64} >= words) words *= 2;
  return words == bitsets_.words() || bitsets_.widen(words);
}

}  // namespace baton
