// KvMemory: the bytes behind a BlockPool's ids. Allocated before the transport, which registers it, and
// before the engine, which uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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
  std::span<std::byte> bytes() const { return {buffer_.data(), buffer_.size()}; }

 private:
  Buffer buffer_;
  KvView view_;
};

}  // namespace baton
