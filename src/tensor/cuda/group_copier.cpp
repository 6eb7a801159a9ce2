// The copier of a group of GPUs: a block is put together from the ranks' parts, and taken apart again. In all
// of them its pieces are runs of heads, one for each layer and K or V.
#include <cstring>
#include <string>
#include <vector>

#include "baton/tensor/device_copier.hpp"

namespace baton {
namespace {

class GroupCopier final : public DeviceCopier {
 public:
  GroupCopier(const KvView& kv, std::vector<std::unique_ptr<DeviceCopier>> ranks)
      : kv_(kv),
        part_(rank_layout(kv.layout, static_cast<std::int32_t>(ranks.size()))),
        addresses_(kv.ranks, kv.ranks + ranks.size()),
        ranks_(std::move(ranks)) {}

  Result<void> to_host(std::span<const std::byte> on_device, std::span<std::byte> host) override {
    return for_blocks(on_device, host.size(), [&](std::int32_t block, std::size_t at) -> Result<void> {
      std::vector<std::byte> part(part_.block_bytes());
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        if (auto read = ranks_[rank]->to_host(part_of(rank, block), part); !read) return read;
        for_runs(rank, [&](std::size_t in_block, std::size_t in_part, std::size_t bytes) {
          std::memcpy(host.data() + at + in_block, part.data() + in_part, bytes);
        });
      }
      return {};
    });
  }

  Result<void> from_host(std::span<const std::byte> host, std::span<std::byte> on_device) override {
    return for_blocks(on_device, host.size(), [&](std::int32_t block, std::size_t at) -> Result<void> {
      std::vector<std::byte> part(part_.block_bytes());
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        for_runs(rank, [&](std::size_t in_block, std::size_t in_part, std::size_t bytes) {
          std::memcpy(part.data() + in_part, host.data() + at + in_block, bytes);
        });
        if (auto written = ranks_[rank]->from_host(part, part_of(rank, block)); !written) return written;
      }
      return {};
    });
  }

  // Pieces are heads, which no rank shares.
  Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> on_device,
                                           std::size_t piece_bytes) override {
    if (piece_bytes != part_.head_bytes())
      return make_error(ErrorCode::invalid_argument, "a group of GPUs hashes heads of blocks only",
                        "piece_bytes");
    std::vector<Hash128> all(on_device.size() / piece_bytes);
    auto hashed =
        for_blocks(on_device, on_device.size(), [&](std::int32_t block, std::size_t at) -> Result<void> {
          for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
            const auto own = ranks_[rank]->hash_pieces(part_of(rank, block), piece_bytes);
            if (!own) return own.error();
            for_runs(rank, [&](std::size_t in_block, std::size_t in_part, std::size_t bytes) {
              for (std::size_t i = 0; i < bytes / piece_bytes; ++i)
                all[(at + in_block) / piece_bytes + i] = (*own)[in_part / piece_bytes + i];
            });
          }
          return {};
        });
    if (!hashed) return hashed.error();
    return all;
  }

 private:
  std::span<std::byte> part_of(std::size_t rank, std::int32_t block) const {
    return {addresses_[rank] + static_cast<std::size_t>(block) * part_.block_bytes(), part_.block_bytes()};
  }

  // run(offset in the whole block, offset in the rank's part, bytes)
  template <class Run>
  void for_runs(std::size_t rank, Run run) const {
    const std::size_t bytes = part_.layer_bytes() / 2, whole = kv_.layout.layer_bytes() / 2;
    for (std::size_t i = 0; i < 2 * static_cast<std::size_t>(part_.layers); ++i)
      run(i * whole + rank * bytes, i * bytes, bytes);
  }

  // each(block, where it begins in the span); invalid_argument for anything but whole blocks of the pool.
  template <class Each>
  Result<void> for_blocks(std::span<const std::byte> named, std::size_t host_bytes, Each each) const {
    const std::size_t bytes = kv_.layout.block_bytes();
    const auto first = static_cast<std::size_t>(named.data() - kv_.base);
    const std::size_t pool = bytes * static_cast<std::size_t>(kv_.blocks);
    if (named.size() != host_bytes || first % bytes != 0 || named.size() % bytes != 0 || first > pool ||
        named.size() > pool - first)
      return make_error(ErrorCode::invalid_argument, "no whole blocks of the group's KV cache");
    for (std::size_t at = 0; at < named.size(); at += bytes)
      if (auto done = each(static_cast<std::int32_t>((first + at) / bytes), at); !done) return done;
    return {};
  }

  const KvView kv_;
  const KvLayout part_;  // of a rank's blocks
  const std::vector<std::byte*> addresses_;
  const std::vector<std::unique_ptr<DeviceCopier>> ranks_;
};

}  // namespace

Result<std::unique_ptr<DeviceCopier>> make_group_copier(const KvView& kv, Device first, std::int32_t width) {
  if (kv.ranks == nullptr)
    return make_error(ErrorCode::invalid_argument, "this KV cache does not lie in parts on several GPUs");
  std::vector<std::unique_ptr<DeviceCopier>> ranks;
  for (std::int32_t rank = 0; rank < width; ++rank) {
    auto made = make_device_copier({first.kind, first.index + rank});
    if (!made) return std::move(made).error();
    ranks.push_back(*std::move(made));
  }
  return std::unique_ptr<DeviceCopier>(std::make_unique<GroupCopier>(kv, std::move(ranks)));
}

}  // namespace baton
