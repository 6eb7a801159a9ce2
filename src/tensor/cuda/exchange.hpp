// CudaExchange: what the ranks of a group of GPUs share: a mailbox on each, and a word on the host by which
// waiting ends (kernels/cuda/exchange).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/tensor/ops.hpp"
#include "kernels/cuda/exchange.hpp"

namespace baton {

// Memory of one GPU that its peers reach, from a pool of its own. cudaDeviceEnablePeerAccess would make all
// of the GPU's memory such, and then whatever allocates there might have to wait for kernels on the others,
// which may be waiting for this GPU.
class PeerMemory {
 public:
  PeerMemory() = default;
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;
  Result<void> allocate(int device, int first_peer, int peers, std::size_t bytes);  // zero-filled
  std::byte* data() const { return data_; }

 private:
  int device_ = 0;
  cudaMemPool_t pool_ = nullptr;
  std::byte* data_ = nullptr;
};

class CudaExchange {
 public:
  // On the GPUs from `first` on, which must reach each other's memory; `unsupported` names two that do not.
  static Result<std::unique_ptr<CudaExchange>> make(Device first, std::int32_t width);
  ~CudaExchange();
  CudaExchange(const CudaExchange&) = delete;
  CudaExchange& operator=(const CudaExchange&) = delete;

  const cuda::Exchange& of(std::int32_t rank) const { return ranks_[static_cast<std::size_t>(rank)]; }
  // Whether a kernel of this rank gave up waiting, or will. Once the rank's stream has been waited for.
  bool failed(std::int32_t rank) const noexcept;
  void interrupt() noexcept;
  void rejoin() noexcept;  // while no rank computes

 private:
  explicit CudaExchange(Device first) : first_(first) {}
  Result<void> allocate(std::int32_t width);
  Result<void> check_peers(std::int32_t width) const;

  const Device first_;
  std::vector<std::unique_ptr<PeerMemory>> boxes_;  // by rank
  cuda::ExchangeControl* control_ = nullptr;        // [width], pinned
  std::vector<cuda::Exchange> ranks_;
};

}  // namespace baton
