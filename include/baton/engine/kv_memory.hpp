// KvMemory: the bytes behind a BlockPool's ids. Allocated before the transport, which registers it, and
// before the engine, which uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/model/kv_spec.hpp"
#include "baton/tensor/buffer.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

class KvMemory {
 public:
  // As many whole blocks as fit into `bytes`; out_of_memory where not even `least_blocks` do, or where the
  // device has not enough. For a group of `width` ranks these are the bytes of all of them; on GPUs, from
  // `device` on, each has its part in memory of its own (KvView::ranks).
  static Result<KvMemory> allocate(const KvSpec& spec, std::uint64_t bytes, std::int32_t least_blocks,
                                   Device device, std::int32_t width = 1);

  KvView view() const { return view_; }
  // Empty where each rank has its part.
  std::span<std::byte> bytes() const;

 private:
  // Addresses that name the blocks of a group of GPUs; nothing lies there.
  struct Names {
    std::size_t bytes;
    void operator()(std::byte* first) const;
  };
  Result<void> allocate_ranks(std::int32_t blocks, Device first, std::int32_t width);

  std::vector<Buffer> buffers_;  // one, or each rank's
  std::unique_ptr<std::byte, Names> names_;
  std::vector<std::byte*> ranks_;  // their addresses, which the view points at
  KvView view_;
};

}  // namespace baton
