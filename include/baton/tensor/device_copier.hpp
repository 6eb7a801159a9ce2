// DeviceCopier: bytes between host memory and a GPU's while that GPU computes: on a stream of its own,
// through pinned memory in pieces, two at a time, so that one piece is copied here while the next is on its
// way.
//
// May be called from several threads; they take turns. The caller sees to it that nobody writes what it
// reads, nor reads what it writes: a step whose result the host has seen has ended, and its blocks are
// complete.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

class DeviceCopier {
 public:
  virtual ~DeviceCopier() = default;
  virtual Result<void> to_host(std::span<const std::byte> on_device, std::span<std::byte> host) = 0;
  virtual Result<void> from_host(std::span<const std::byte> host, std::span<std::byte> on_device) = 0;
  // XXH3-128 of each `piece_bytes` (the last may be fewer), computed on the GPU: hash_bytes' bits.
  virtual Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> on_device,
                                                   std::size_t piece_bytes) = 0;
};

// unsupported in a build without CUDA, and for the CPU, whose memory needs none.
Result<std::unique_ptr<DeviceCopier>> make_device_copier(Device device);

// Of the blocks of a group of GPUs, from `first` on, whose KvView has `ranks`: the spans on the device are
// whole blocks, named by kv.block(id); in host memory a block has the heads of all ranks, as its layout says.
Result<std::unique_ptr<DeviceCopier>> make_group_copier(const KvView& kv, Device first, std::int32_t width);

}  // namespace baton
