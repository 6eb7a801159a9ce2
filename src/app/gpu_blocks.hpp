// KV blocks in a GPU's memory, as the transport reads and writes them.
#pragma once

#include "baton/tensor/device_copier.hpp"
#include "baton/transfer/kv_transport.hpp"

namespace baton {

class GpuBlocks final : public BlockMemory {
 public:
  explicit GpuBlocks(std::unique_ptr<DeviceCopier> copier) : copier_(std::move(copier)) {}
  Result<void> read(std::span<const std::byte> block, std::span<std::byte> host) override {
    return copier_->to_host(block, host);
  }
  Result<void> write(std::span<const std::byte> host, std::span<std::byte> block) override {
    return copier_->from_host(host, block);
  }
  bool hashes() const override { return true; }
  Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> block,
                                           std::size_t piece_bytes) override {
    return copier_->hash_pieces(block, piece_bytes);
  }

 private:
  const std::unique_ptr<DeviceCopier> copier_;
};

}  // namespace baton
