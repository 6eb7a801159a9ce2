// BlockRef: a move-only pin of one block of a BlockPool, which must outlive it. Destroying it unpins. Owned
// by the engine thread.
#pragma once

#include "baton/cache/block.hpp"

namespace baton {

class BlockPool;

class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept;
  BlockRef& operator=(BlockRef&& other) noexcept;
  ~BlockRef();

  BlockId id() const { return id_; }  // -1: of no block
  explicit operator bool() const { return pool_ != nullptr; }
  BlockRef share() const;  // one more pin of the same block
  void reset();
  // As reset; where it stays cached, it is the next to be evicted.
  void reset_first_to_go();

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, BlockId id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  BlockId id_ = -1;
};

}  // namespace baton
