// What this daemon expects to receive, and every write into it: the part of KvTransport that all
// implementations share. A network calls begin() before it lets a part touch memory and end() after the last
// byte of it can have been written.
//
// Thread-safe; one mutex, held for table work only. Invariant: on_closed is called after close(), once, when
// no write, verification or callback of that transfer is under way, and then nothing of it is referenced.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/transfer/kv_transport.hpp"
#include "part_header.hpp"
#include "task_thread.hpp"

namespace baton::transfer {

using SourceId = std::uint64_t;  // one connection from a sender; a new one each time it connects

class ReceiveTable {
 private:
  struct Transfer;

 public:
  // A write under way. Give it back to end() exactly once.
  struct Landing {
    std::shared_ptr<Transfer> transfer;  // shared: outlives close() until the write has ended
    std::uint32_t index = 0;
    std::uint32_t part = 0;
    std::span<std::byte> bytes;
  };

  // Verifications and their callbacks run on `tasks`. Both must outlive the table.
  ReceiveTable(const TransportOptions& options, TaskThread& tasks);

  Result<void> expect(TransferId id, std::vector<ExpectedBlock> blocks, std::shared_ptr<ReceiveSink> sink);
  void close(TransferId id);
  void close_all();
  bool wait_until_empty(Duration timeout);  // true: every on_closed has returned

  // Where this part of `bytes` bytes goes; nothing where it must not touch memory.
  std::optional<Landing> begin(const PartHeader& header, std::size_t bytes, SourceId source);
  void end(Landing landing, Result<void> outcome);
  // The connection is gone: blocks that it had half delivered can be sent again by another.
  void abandon(SourceId source);
  void count_dropped();  // a message that not even parsed

  // Fills in what it knows: blocks_received, bytes_received, dropped, corrupt; adds to in_flight.
  void add_counters(TransportCounters& counters) const;

 private:
  enum class State : std::uint8_t { expected, receiving, verifying, done };
  enum class PartState : std::uint8_t { missing, writing, landed };
  struct Slot {
    Hash128 hash;
    std::span<std::byte> destination;
    std::unique_ptr<std::byte[]>
        staged;  // what lands, until it is verified, where the destination is no host memory
    State state = State::expected;
    // of the send that is landing:
    PartHeader header;
    SourceId source = 0;
    std::vector<PartState> parts;
    std::size_t landed = 0;
    std::size_t writing = 0;
    std::optional<Error> failure;

    std::span<std::byte> landing() const {
      return staged ? std::span<std::byte>(staged.get(), destination.size()) : destination;
    }
  };
  using Lock = std::unique_lock<std::mutex>;

  void verify(const std::shared_ptr<Transfer>& transfer, std::uint32_t index);
  Result<void> take_over(const PartHeader& header, std::span<const std::byte> bytes,
                         std::span<std::byte> destination) const;
  void finish(const std::shared_ptr<Transfer>& transfer, std::uint32_t index, Result<void> outcome,
              bool report);
  void refuse(Lock lock, std::shared_ptr<Transfer> transfer, std::uint32_t index, Error why);
  void begin_closing(Transfer& transfer);
  void unpin(const std::shared_ptr<Transfer>& transfer);

  const TransportOptions options_;
  TaskThread& tasks_;
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_map<TransferId, std::shared_ptr<Transfer>> live_;  // shared: see Landing
  std::size_t closing_ = 0;                                         // closed, on_closed not yet returned
  TransportCounters counters_;
};

}  // namespace baton::transfer
