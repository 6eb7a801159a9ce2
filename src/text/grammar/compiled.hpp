// A compiled grammar: its automaton and the masks that were worked out for it so far.
//
// Masks of nodes are the expensive part (inside a text of JSON, nearly all tokens of a vocabulary are looked
// at): each is worked out once, those of the widest nodes when the grammar is compiled. What depends on the
// calls below is worked out for each stack, and remembered too. Outputs on several threads share them under a
// mutex that is held for lookups only.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "baton/base/token_mask.hpp"
#include "text/grammar/token_walk.hpp"

namespace baton::text {

class CompiledGrammar final : public TokenGrammar, public std::enable_shared_from_this<CompiledGrammar> {
 public:
  CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenIndex> index);

  std::unique_ptr<TokenMask> start() const override;

  const Automaton& automaton() const { return automaton_; }
  const TokenIndex& index() const { return *index_; }
  const std::vector<Node>& alike() const { return alike_; }

  // Worked out by `walker` where it is not known. Null where that got lost.
  std::shared_ptr<const NodeMask> mask_of(Node node, Walker& walker) const;
  // What was remembered of the tokens that a set of positions allows beyond its nodes' own; null if nothing.
  std::shared_ptr<const TokenSet> find(const Hash128& positions) const;
  void remember(const Hash128& positions, std::shared_ptr<const TokenSet> tokens) const;

 private:
  const Automaton automaton_;
  const std::shared_ptr<const TokenIndex> index_;  // shared with the compiler and its other grammars
  const std::vector<Node> alike_;

  mutable std::mutex mutex_;  // guards what follows
  mutable std::unordered_map<Node, std::shared_ptr<const NodeMask>> nodes_;
  mutable std::unordered_map<Hash128, std::shared_ptr<const TokenSet>> stacks_;
  mutable std::size_t node_bytes_ = 0, stack_bytes_ = 0;
};

}  // namespace baton::text
