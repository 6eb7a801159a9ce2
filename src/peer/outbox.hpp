// What waits to be written to one peer: filled from any thread, emptied by the io thread, bounded in bytes.
//
// Invariant: bytes that were accepted are either taken, in order, or the outbox is closed; after an overflow
// it is closed for good, because a gap in the stream would be worse than a lost peer.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "peer/frame.hpp"

namespace baton::peer {

using Payload = std::shared_ptr<const std::vector<std::byte>>;  // shared: a broadcast has many receivers

struct Outgoing {
  FrameKind kind = FrameKind::message;
  Payload payload;
};

class Outbox {
 public:
  explicit Outbox(std::size_t limit) : limit_(limit) {}

  enum class Push : std::uint8_t {
    queued,    // a flush is under way already
    wake,      // queued; the caller must cause a flush
    overflow,  // refused; the outbox is now closed, and the caller must drop the peer
    closed,
  };
  Push push(Outgoing item) {
    std::lock_guard lock(mutex_);
    if (closed_) return Push::closed;
    const std::size_t size = item.payload->size() + kFrameOverhead;
    if (bytes_ + size > limit_) {
      closed_ = true;
      return Push::overflow;
    }
    bytes_ += size;
    items_.push_back(std::move(item));
    return std::exchange(flushing_, true) ? Push::queued : Push::wake;
  }

  // Everything queued; `written` is what the previous batch took from the limit. Nothing: the flush has
  // ended.
  std::vector<Outgoing> take(std::size_t written) {
    std::lock_guard lock(mutex_);
    bytes_ -= written;
    if (items_.empty()) flushing_ = false;
    return std::exchange(items_, {});
  }

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    items_.clear();
  }

 private:
  const std::size_t limit_;
  std::mutex mutex_;
  std::vector<Outgoing> items_;
  std::size_t bytes_ = 0;  // queued or being written
  bool flushing_ = false;
  bool closed_ = false;
};

}  // namespace baton::peer
