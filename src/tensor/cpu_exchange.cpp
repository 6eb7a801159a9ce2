#include "cpu_exchange.hpp"

#include <algorithm>
#include <cstring>

#include "cpu_ops.hpp"
#include "spin.hpp"

namespace baton {
namespace {

constexpr std::uint32_t kInterrupted = 1U << 31;

[[noreturn]] void give_up() { throw DeviceFailure("another rank of the group failed"); }

}  // namespace

std::span<const Tensor> CpuExchange::meet(std::int32_t rank, const Tensor& own) {
  tensors_[static_cast<std::size_t>(rank)] = own;
  wait_for_all();
  return tensors_;
}

void CpuExchange::part() { wait_for_all(); }

void CpuExchange::wait_for_all() {
  const std::uint32_t round = round_.load(std::memory_order_acquire);
  if ((round & kInterrupted) != 0) give_up();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == tensors_.size()) {
    arrived_.store(0, std::memory_order_relaxed);
    std::uint32_t expected = round;  // unless it was interrupted meanwhile
    if (!round_.compare_exchange_strong(expected, (round + 1) & ~kInterrupted, std::memory_order_acq_rel))
      give_up();
    round_.notify_all();
    return;
  }
  const auto over = [&] { return round_.load(std::memory_order_acquire) != round; };
  if (!spin(over)) round_.wait(round, std::memory_order_acquire);
  if ((round_.load(std::memory_order_acquire) & kInterrupted) != 0) give_up();
}

void CpuExchange::interrupt() noexcept {
  round_.fetch_or(kInterrupted, std::memory_order_acq_rel);
  round_.notify_all();
}

void CpuExchange::rejoin() noexcept {
  arrived_.store(0, std::memory_order_relaxed);
  round_.fetch_and(~kInterrupted, std::memory_order_release);
}

// Each rank adds up its share of the columns, and writes the sums to all.
Tensor CpuOps::all_reduce(Tensor x) {
  if (!exchange_) return x;
  const std::span<const Tensor> all = exchange_->meet(place_.rank, x);
  const Share mine = share_of(x.cols, place_);
  const auto row_of = [&](const Tensor& tensor, std::int64_t row) {
    return static_cast<float*>(tensor.data) + row * tensor.stride + mine.first;
  };
  for_rows(x.rows, mine.count * place_.width, [&](std::int64_t row) {
    float* const sum = row_of(all[0], row);
    for (std::size_t other = 1; other < all.size(); ++other)
      kernels_.add(sum, row_of(all[other], row), 1.0F, mine.count);
    for (std::size_t other = 1; other < all.size(); ++other)
      std::memcpy(row_of(all[other], row), sum, static_cast<std::size_t>(mine.count) * sizeof(float));
  });
  exchange_->part();
  return x;
}

Tensor CpuOps::gather_columns(const Tensor& x, std::int64_t cols) {
  if (!exchange_) return x;
  Tensor whole;
  if (place_.rank == 0) whole = allocate(x.rows, cols);
  const std::span<const Tensor> all = exchange_->meet(place_.rank, x);
  if (place_.rank == 0) {
    for_rows(x.rows, cols, [&](std::int64_t row) {
      float* to = static_cast<float*>(whole.data) + row * whole.stride;
      for (const Tensor& part : all)
        to = std::copy_n(static_cast<const float*>(part.data) + row * part.stride, part.cols, to);
    });
  }
  exchange_->part();
  return whole;
}

}  // namespace baton
