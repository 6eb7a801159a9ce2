// What the contract suite needs: a world that makes transports of one kind (defined once in each test
// binary), a sink that remembers, and buffers that look like blocks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "baton/transfer/kv_transport.hpp"

namespace baton::test {

// All transports of a world can reach each other.
class World {
 public:
  virtual ~World() = default;
  virtual std::unique_ptr<KvTransport> make(const TransportOptions& options) = 0;
};
std::unique_ptr<World> make_world();

// How long a wait may take before the test calls it a hang. Never a measure of speed.
inline constexpr std::chrono::seconds kHang{60};

class RecordingSink final : public ReceiveSink {
 public:
  void on_block(TransferId, std::uint32_t index, Result<void> outcome) override {
    std::function<void(std::uint32_t)> hook;
    {
      std::lock_guard lock(mutex_);
      if (closed_ > 0) ++late_;
      if (outcome) {
        ++landed_[index];
      } else {
        ++failed_[index];
        last_error_ = outcome.error().code;
      }
      hook = block_hook;
    }
    changed_.notify_all();
    if (hook) hook(index);
  }
  void on_closed(TransferId) override {
    if (closed_hook) closed_hook();
    std::lock_guard lock(mutex_);
    ++closed_;
    changed_.notify_all();
  }

  bool wait_landed(std::size_t blocks) {
    return wait([&] { return landed_.size() >= blocks; });
  }
  bool wait_failed(int times) {
    return wait([&] { return failures_locked() >= times; });
  }
  bool wait_closed() {
    return wait([&] { return closed_ > 0; });
  }

  int landed(std::uint32_t index) const {
    return look([&] { return count(landed_, index); });
  }
  int failed(std::uint32_t index) const {
    return look([&] { return count(failed_, index); });
  }
  int failures() const {
    return look([&] { return failures_locked(); });
  }
  int closed() const {
    return look([&] { return closed_; });
  }
  int late() const {
    return look([&] { return late_; });
  }
  std::size_t blocks_landed() const {
    return look([&] { return landed_.size(); });
  }
  ErrorCode last_error() const {
    return look([&] { return last_error_; });
  }

  std::function<void(std::uint32_t)> block_hook;  // set before use
  std::function<void()> closed_hook;

 private:
  template <class F>
  bool wait(F&& done) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kHang, done);
  }
  template <class F>
  std::invoke_result_t<F> look(F&& f) const {
    std::lock_guard lock(mutex_);
    return f();
  }
  static int count(const std::map<std::uint32_t, int>& counts, std::uint32_t index) {
    const auto found = counts.find(index);
    return found == counts.end() ? 0 : found->second;
  }
  int failures_locked() const {
    int sum = 0;
    for (const auto& [index, times] : failed_) sum += times;
    return sum;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, int> landed_, failed_;
  int closed_ = 0;
  int late_ = 0;  // callbacks after on_closed
  ErrorCode last_error_ = ErrorCode::internal;
};

// Collects the ends of sends.
class Dones {
 public:
  SendDone next() {
    std::lock_guard lock(mutex_);
    const std::size_t id = calls_.size();
    calls_.push_back(0);
    return [this, id](Result<void> outcome) {
      std::lock_guard inner(mutex_);
      ++calls_[id];
      ++ended_;
      if (outcome) ++succeeded_;
      if (!outcome) last_error_ = outcome.error().code;
      changed_.notify_all();
    };
  }
  bool wait_all() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kHang, [&] { return ended_ >= calls_.size(); });
  }
  bool each_once() const {
    std::lock_guard lock(mutex_);
    for (const int times : calls_)
      if (times != 1) return false;
    return true;
  }
  std::size_t succeeded() const {
    std::lock_guard lock(mutex_);
    return succeeded_;
  }
  ErrorCode last_error() const {
    std::lock_guard lock(mutex_);
    return last_error_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> calls_;
  std::size_t ended_ = 0, succeeded_ = 0;
  ErrorCode last_error_ = ErrorCode::internal;
};

// `count` blocks of `bytes` each, scattered in one pool: every second block-sized place is left empty.
class Blocks {
 public:
  Blocks(std::size_t count, std::size_t bytes, std::uint64_t seed);
  std::size_t size() const { return hashes_.size(); }
  std::span<std::byte> bytes(std::size_t i) {
    return std::span(pool_).subspan(2 * i * block_bytes_, block_bytes_);
  }
  std::span<std::byte> pool() { return pool_; }
  Hash128 hash(std::size_t i) const { return hashes_[i]; }

  std::vector<ExpectedBlock> expected(Blocks& hashes_of);
  OutgoingBlock outgoing(TransferId id, std::size_t i) {
    return {id, static_cast<std::uint32_t>(i), hashes_[i], bytes(i)};
  }
  bool equals(Blocks& other);
  void fill(std::byte value) { std::fill(pool_.begin(), pool_.end(), value); }
  bool all(std::byte value) const;

 private:
  std::size_t block_bytes_;
  std::vector<std::byte> pool_;
  std::vector<Hash128> hashes_;
};

// Two transports connected both ways, "a" and "b".
struct Pair {
  explicit Pair(const TransportOptions& options = {}) : Pair(options, options) {}
  Pair(const TransportOptions& for_a, const TransportOptions& for_b);
  std::unique_ptr<World> world;
  std::unique_ptr<KvTransport> a, b;
};

TransferId new_transfer();

// Until no connection that was cut is still closing. Two transports in one process, as here and nowhere else,
// must not open a socket while the other closes one: decision 0003, "Two workers in one process".
void await_closed_sockets();

}  // namespace baton::test
