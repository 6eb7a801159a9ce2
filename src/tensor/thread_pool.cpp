#include "thread_pool.hpp"

#include <algorithm>

#include "spin.hpp"

namespace baton {
namespace {

constexpr std::uint32_t kOpen = 1U << 15;
constexpr std::uint32_t kJoined = kOpen - 1;
constexpr std::uint32_t kJobShift = 16;

}  // namespace

ThreadPool::ThreadPool(int threads)
    : threads_(std::max(threads, 1)), ranges_(std::make_unique<Range[]>(static_cast<std::size_t>(threads_))) {
  workers_.reserve(static_cast<std::size_t>(threads_) - 1);
  for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i] { serve(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  state_.fetch_add(1U << kJobShift, std::memory_order_release);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::work(int thread) {
  for (int i = 0; i < threads_; ++i) {
    Range& range = ranges_[static_cast<std::size_t>((thread + i) % threads_)];
    while (range.next.load(std::memory_order_relaxed) < range.end) {
      const std::int64_t task = range.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= range.end) break;
      job_.call(job_.context, task, thread);
    }
  }
}

void ThreadPool::run_on_all(std::int64_t tasks, Job job) {
  job_ = job;
  for (int i = 0; i < threads_; ++i) {
    Range& range = ranges_[static_cast<std::size_t>(i)];
    range.next.store(tasks * i / threads_, std::memory_order_relaxed);
    range.end = tasks * (i + 1) / threads_;
  }
  const std::uint32_t number = (state_.load(std::memory_order_relaxed) >> kJobShift) + 1;
  state_.store(number << kJobShift | kOpen, std::memory_order_release);
  state_.notify_all();
  work(0);
  const std::uint32_t closed = number << kJobShift;
  if ((state_.fetch_and(~kOpen, std::memory_order_acq_rel) & kJoined) == 0) return;
  const auto left = [&] { return finished_.load(std::memory_order_acquire) == closed; };
  if (spin(left)) return;
  for (std::uint32_t seen = finished_.load(std::memory_order_acquire); seen != closed;
       seen = finished_.load(std::memory_order_acquire)) {
    finished_.wait(seen, std::memory_order_acquire);
  }
}

void ThreadPool::serve(int thread) {
  std::uint32_t seen = 0;  // number of the last job this worker knows
  while (true) {
    std::uint32_t state = 0;
    const auto has_news = [&] {
      state = state_.load(std::memory_order_acquire);
      return state >> kJobShift != seen;
    };
    if (!spin(has_news)) {
      while (!has_news()) state_.wait(state, std::memory_order_acquire);
    }
    while ((state & kOpen) != 0 && !state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel,
                                                                 std::memory_order_acquire)) {
    }
    seen = state >> kJobShift;
    if ((state & kOpen) == 0) {  // came too late; what closed the job may have been the end of the pool
      if (stop_.load(std::memory_order_relaxed)) return;
      continue;
    }
    work(thread);
    const std::uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kOpen) == 0 && (before & kJoined) == 1) {
      finished_.store((before - 1), std::memory_order_release);
      finished_.notify_one();
    }
  }
}

}  // namespace baton
