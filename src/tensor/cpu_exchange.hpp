// CpuExchange: where the ranks of a group on the CPU meet and look into each other's tensors.
//
// Each rank's thread calls meet() and part() in turns. Between the two all tensors stay where they are. Who
// waits spins for a while, then sleeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "baton/tensor/ops.hpp"

namespace baton {

class CpuExchange {
 public:
  explicit CpuExchange(std::int32_t width) : tensors_(static_cast<std::size_t>(width)) {}

  // Returns when every rank is here, with their tensors in order of rank. Throws DeviceFailure once
  // interrupted.
  std::span<const Tensor> meet(std::int32_t rank, const Tensor& own);
  void part();  // returns when every rank has read what it wanted; throws likewise

  void interrupt() noexcept;
  void rejoin() noexcept;

 private:
  void wait_for_all();

  std::vector<Tensor> tensors_;
  // Ranks that have arrived; the last one begins the next round. An interrupt sets the top bit of the round,
  // so that nobody misses it.
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};
};

}  // namespace baton
