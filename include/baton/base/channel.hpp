// A bounded multi-producer queue between threads. The only way to talk to a thread that owns state.
//
// try_push never blocks: a full or closed channel says so and the caller decides (HTTP: 429). pop waits with
// a deadline. Invariant: what was pushed before close() is still delivered; after that pop returns nothing at
// once. Wakes under the mutex: whoever popped the last item may destroy the channel, and a push must be done
// with it by then.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "baton/base/clock.hpp"

namespace baton {

template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}

  // False when full or closed; `item` is left untouched then.
  bool try_push(T&& item) {
    std::lock_guard lock(mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    ready_.notify_one();
    return true;
  }

  // For messages that release resources (cancel, completion): accepted over capacity, refused only when
  // closed.
  bool push_always(T&& item) {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    ready_.notify_one();
    return true;
  }

  // Everything queued, in order; empty if nothing arrives within `timeout` or the channel is closed and
  // drained. Without a timeout it does not sleep: a timed wait takes 50 us and more even where its time is
  // up.
  std::vector<T> pop_all(Duration timeout) {
    std::unique_lock lock(mutex_);
    if (timeout > Duration(0)) ready_.wait_for(lock, timeout, [&] { return closed_ || !items_.empty(); });
    std::vector<T> out;
    out.reserve(items_.size());
    for (T& item : items_) out.push_back(std::move(item));
    items_.clear();
    return out;
  }

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_all();
  }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }
  std::size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace baton
