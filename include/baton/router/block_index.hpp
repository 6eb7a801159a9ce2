// BlockIndex: which engine's prefix cache holds which blocks, as told by the engines' own events. A hit is a
// hint: the owner's match at admission, which pins the blocks, decides.
//
// Pure and single-threaded (the router's thread owns it). Engines are small integers here; their names are
// the caller's. An engine's events are numbered and each says what the engine then holds, as a digest, so
// what went missing or wrong shows (`gap`, `drift`): the caller then asks for a snapshot. Bounded: what does
// not fit into `max_bytes` is not remembered (counted in `dropped`), which costs hits, never correctness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baton/cache/block.hpp"
#include "baton/peer/messages.hpp"

namespace baton {

using NodeId = std::uint16_t;
inline constexpr NodeId kNoNode = 0xffff;

class BlockIndex {
 public:
  explicit BlockIndex(std::size_t max_bytes = std::size_t{256} << 20);
  ~BlockIndex();

  // An engine that nothing is known of yet. kNoNode where there are too many, or no memory for one more: it
  // is taken everywhere below, for an engine that holds nothing.
  NodeId add_node();
  // And all that it holds; the id may be given out again. One pass over the table.
  void forget(NodeId node);

  enum class Applied : std::uint8_t {
    ok,
    gap,    // events before these are missing: nothing was applied
    drift,  // applied, but the engine holds something else than the events said
  };
  // A snapshot replaces all that the engine holds, in one pass over the table.
  Applied apply(NodeId node, const BlockEventsMessage& events);

  // held[node]: how many leading hashes the engine holds; there may be more engines than held.size(), which
  // hold none.
  void match(std::span<const BlockHash> hashes, std::vector<std::uint32_t>& held) const;

  std::size_t size() const;          // (block, engine) pairs
  std::size_t memory_bytes() const;  // of all that grows with them; never above max_bytes
  std::uint64_t dropped() const;     // pairs not remembered for lack of memory
  std::uint64_t gaps() const;        // each counted once until a snapshot repairs it, as are drifts
  std::uint64_t drifts() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
