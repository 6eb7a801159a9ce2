// A compiled grammar: its automaton and the masks that were worked out for it so far.
//
// Masks of nodes are the expensive part (inside a text of JSON, nearly all tokens of a vocabulary are looked
// at). Each is put together from one for each band of tokens, and nodes that no token of a band tells apart
// share that band's; so near the end of a text that may only be so long, where each character makes another
// node, only tokens that reach the end are looked at anew. What depends on the calls below is worked out for
// each stack. All of it is remembered, the widest nodes' masks from when the grammar is compiled. Outputs on
// several threads share it under a mutex that is held for lookups only.
//
// What a mask may cost is bounded by the positions that are looked at for it, whether they are looked at now
// or were before: whether an output can go on depends on its grammar and its tokens alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "baton/base/token_mask.hpp"
#include "text/grammar/token_walk.hpp"

namespace baton::text {

struct NodeMask {
  TokenSet yes;
  struct Open {
    std::size_t band = 0;
    std::shared_ptr<const BandMask> mask;
  };
  std::vector<Open> open;  // bands with tokens that run out of the rule
  std::size_t open_entries = 0;
  std::size_t work = 0;

  std::size_t bytes() const { return yes.bytes() + open.capacity() * sizeof(Open); }
};

// The tokens that a set of positions allows beyond its nodes' own.
struct StackMask {
  TokenSet tokens;
  std::size_t work = 0;
  bool lost = false;  // it cannot be worked out
};

class CompiledGrammar final : public TokenGrammar, public std::enable_shared_from_this<CompiledGrammar> {
 public:
  CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenIndex> index);

  std::unique_ptr<TokenMask> start() const override;

  const Automaton& automaton() const { return automaton_; }
  const TokenIndex& index() const { return *index_; }
  // Of nodes for texts as long as the longest token.
  const std::vector<Node>& alike() const { return alike_.back(); }
  std::size_t most_work() const;  // of a mask

  // `back`: where its rule returns to, unless it is the root. Null where the credit does not suffice.
  std::shared_ptr<const NodeMask> mask_of(Node node, std::optional<Node> back, std::size_t credit) const;
  std::shared_ptr<const StackMask> find(const Hash128& positions) const;  // null where nothing is remembered
  void remember(const Hash128& positions, std::shared_ptr<const StackMask> mask) const;
  bool any_lost() const { return any_lost_.load(std::memory_order_relaxed); }

 private:
  // A node, perhaps with where its rule returns to, for the tokens of one band or of all.
  using Context = Hash128;
  static Context context(std::size_t band, Node node) { return {node, band << 1}; }
  static Context context(std::size_t band, Node node, Node back) {
    return {std::uint64_t{back} << 32 | node, band << 1 | 1};
  }
  template <class Key, class Value>
  struct Remembered {
    std::unordered_map<Key, std::shared_ptr<const Value>> masks;
    std::size_t bytes = 0;
  };

  void work_out_the_widest() const;
  std::shared_ptr<const NodeMask> mask_behind(const NodeMask& open, Node node, Node back,
                                              std::size_t credit) const;
  Node alike_in(std::size_t band, Node node) const { return alike_[std::min(band, alike_.size() - 1)][node]; }
  std::shared_ptr<const BandMask> mask_of(std::size_t band, Node node, std::size_t credit) const;
  std::shared_ptr<const BandMask> mask_of(std::size_t band, Node node, Node back, const BandMask& open,
                                          std::size_t credit) const;
  std::shared_ptr<const BandMask> keep(const Context& key, BandMask made) const;
  template <class Key, class Value>
  std::shared_ptr<const Value> find(const Remembered<Key, Value>& in, const Key& key) const;
  template <class Key, class Value>
  void add(Remembered<Key, Value>& to, const Key& key, std::shared_ptr<const Value> mask,
           std::size_t bytes) const;

  const Automaton automaton_;
  const std::shared_ptr<const TokenIndex> index_;  // shared with the compiler and its other grammars
  const std::vector<std::vector<Node>> alike_;     // by band

  mutable std::mutex mutex_;  // guards what follows
  mutable Remembered<Context, BandMask> bands_;
  mutable Remembered<Context, NodeMask> nodes_;  // of all bands
  mutable Remembered<Hash128, StackMask> stacks_;
  mutable std::atomic<bool> any_lost_{false};
};

}  // namespace baton::text
