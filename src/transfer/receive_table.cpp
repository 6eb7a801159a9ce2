#include "receive_table.hpp"

#include <new>
#include <string>
#include <utility>

#include "digest.hpp"

namespace baton::transfer {

struct ReceiveTable::Transfer {
  TransferId id;
  std::unordered_map<std::uint32_t, Slot> slots;
  std::shared_ptr<ReceiveSink> sink;  // shared with the caller, who may let go before on_closed
  std::size_t pins = 0;               // writes, verifications and callbacks under way
  bool closing = false;
};

ReceiveTable::ReceiveTable(const TransportOptions& options, TaskThread& tasks)
    : options_(options), tasks_(tasks) {}

Result<void> ReceiveTable::expect(TransferId id, std::vector<ExpectedBlock> blocks,
                                  std::shared_ptr<ReceiveSink> sink) {
  if (!sink) return make_error(ErrorCode::invalid_argument, "a transfer needs a sink", "sink");
  auto transfer = std::make_shared<Transfer>();
  transfer->id = id;
  transfer->sink = std::move(sink);
  for (const ExpectedBlock& block : blocks) {
    if (block.destination.empty())
      return make_error(ErrorCode::invalid_argument,
                        "block " + std::to_string(block.index) + " has an empty destination", "blocks");
    Slot slot;
    slot.hash = block.hash;
    slot.destination = block.destination;
    if (!transfer->slots.emplace(block.index, std::move(slot)).second)
      return make_error(ErrorCode::invalid_argument,
                        "block " + std::to_string(block.index) + " is expected twice", "blocks");
  }
  Lock lock(mutex_);
  if (!live_.emplace(id, std::move(transfer)).second)
    return make_error(ErrorCode::invalid_argument, "transfer " + to_hex(id) + " is already expected",
                      "transfer");
  return {};
}

void ReceiveTable::close(TransferId id) {
  Lock lock(mutex_);
  const auto found = live_.find(id);
  if (found == live_.end()) return;
  const std::shared_ptr<Transfer> transfer = found->second;
  live_.erase(found);
  begin_closing(*transfer);
  lock.unlock();
  tasks_.post([this, transfer] { unpin(transfer); });
}

void ReceiveTable::close_all() {
  std::vector<std::shared_ptr<Transfer>> closing;
  {
    Lock lock(mutex_);
    for (const auto& [id, transfer] : live_) {
      begin_closing(*transfer);
      closing.push_back(transfer);
    }
    live_.clear();
  }
  for (const auto& transfer : closing) tasks_.post([this, transfer] { unpin(transfer); });
}

// With the mutex held. The closing itself holds one pin, given up on the task thread: on_closed never runs
// inside close().
void ReceiveTable::begin_closing(Transfer& transfer) {
  transfer.closing = true;
  for (auto& [index, slot] : transfer.slots) {
    if (slot.state != State::receiving || slot.writing > 0) continue;  // end() sees to the others
    slot.state = State::expected;
    --counters_.in_flight;
  }
  ++transfer.pins;
  ++closing_;
}

bool ReceiveTable::wait_until_empty(Duration timeout) {
  Lock lock(mutex_);
  return empty_.wait_for(lock, timeout, [this] { return live_.empty() && closing_ == 0; });
}

std::optional<ReceiveTable::Landing> ReceiveTable::begin(const PartHeader& header, std::size_t bytes,
                                                         SourceId source) {
  Lock lock(mutex_);
  const auto drop = [this] {
    ++counters_.dropped;
    return std::nullopt;
  };
  const auto found = live_.find(header.transfer);
  if (found == live_.end()) return drop();
  const std::shared_ptr<Transfer>& transfer = found->second;
  const auto slot_at = transfer->slots.find(header.index);
  if (slot_at == transfer->slots.end() || bytes != header.length()) return drop();
  Slot& slot = slot_at->second;

  if (slot.state == State::expected) {
    const bool wrong_hash = header.hash != slot.hash;
    if (wrong_hash || header.total_bytes != slot.destination.size()) {
      if (header.part == 0)  // one report for each send, whatever its number of parts
        refuse(std::move(lock), transfer, header.index,
               make_error(ErrorCode::corrupt, "block " + std::to_string(header.index) + " has another " +
                                                  (wrong_hash ? "hash" : "size") + " than expected"));
      return std::nullopt;
    }
    if (options_.memory != nullptr && !options_.direct && !slot.staged) {
      slot.staged.reset(new (std::nothrow) std::byte[slot.destination.size()]);
      if (!slot.staged) return drop();  // no memory now: it is sent again when its deadline has passed
    }
    slot.state = State::receiving;
    slot.header = header;
    slot.source = source;
    slot.parts.assign(header.parts(), PartState::missing);
    slot.landed = slot.writing = 0;
    slot.failure.reset();
    ++counters_.in_flight;
  }
  // Only the send that came first may write; its copies, and parts that come twice, are dropped.
  const bool same_send = slot.state == State::receiving && slot.source == source &&
                         slot.header.attempt == header.attempt &&
                         slot.header.part_bytes == header.part_bytes &&
                         slot.header.total_bytes == header.total_bytes && slot.header.hash == header.hash;
  if (!same_send || slot.failure || slot.parts[header.part] != PartState::missing) return drop();
  slot.parts[header.part] = PartState::writing;
  ++slot.writing;
  ++transfer->pins;
  return Landing{transfer, header.index, header.part,
                 slot.landing().subspan(header.offset(), header.length())};
}

void ReceiveTable::end(Landing landing, Result<void> outcome) {
  const std::shared_ptr<Transfer> transfer = std::move(landing.transfer);
  Lock lock(mutex_);
  Slot& slot = transfer->slots.at(landing.index);
  --slot.writing;
  slot.parts[landing.part] = outcome ? PartState::landed : PartState::missing;
  if (outcome) {
    ++slot.landed;
  } else if (!slot.failure) {
    slot.failure = outcome.error();
  }
  const bool complete = !slot.failure && slot.landed == slot.parts.size();
  if (transfer->closing && !complete && !slot.failure)
    slot.failure = make_error(ErrorCode::cancelled, "the transfer was closed");
  const bool failed = slot.failure.has_value() && slot.writing == 0;
  if (!failed && !complete) {
    lock.unlock();
    return unpin(transfer);
  }
  slot.state = State::verifying;
  if (failed) {
    const Error why = *slot.failure;
    lock.unlock();
    return finish(transfer, landing.index, why, true);
  }
  const bool verifies =
      !transfer->closing && (options_.digests || options_.faults != nullptr || options_.memory != nullptr);
  lock.unlock();
  if (!verifies) return finish(transfer, landing.index, {}, true);
  tasks_.post([this, transfer, index = landing.index] { verify(transfer, index); });
}

void ReceiveTable::abandon(SourceId source) {
  std::vector<std::pair<std::shared_ptr<Transfer>, std::uint32_t>> gone;
  {
    Lock lock(mutex_);
    for (const auto& [id, transfer] : live_) {
      for (auto& [index, slot] : transfer->slots) {
        if (slot.state != State::receiving || slot.source != source || slot.writing > 0) continue;
        slot.state = State::verifying;
        ++transfer->pins;
        gone.emplace_back(transfer, index);
      }
    }
  }
  for (const auto& [transfer, index] : gone)
    finish(transfer, index, make_error(ErrorCode::unavailable, "the sender went away half-way"), true);
}

// On the task thread. Nobody writes here any more: the slot is `verifying`, so begin() refuses further parts.
void ReceiveTable::verify(const std::shared_ptr<Transfer>& transfer, std::uint32_t index) {
  Lock lock(mutex_);
  const Slot& slot = transfer->slots.at(index);
  const PartHeader header = slot.header;
  const std::span<const std::byte> bytes = slot.landing();
  const std::span<std::byte> destination = slot.destination;
  lock.unlock();
  if (options_.faults != nullptr) {
    switch (options_.faults->hit("transfer.receive")) {
      case FaultAction::drop:
        return finish(transfer, index, make_error(ErrorCode::unavailable, "dropped by a fault point"), false);
      case FaultAction::fail:
        return finish(transfer, index, make_error(ErrorCode::unavailable, "failed by a fault point"), true);
      case FaultAction::corrupt:
        return finish(transfer, index, make_error(ErrorCode::corrupt, "corrupted by a fault point"), true);
      default:
        break;
    }
  }
  finish(transfer, index, take_over(header, bytes, destination), true);
}

// Verified and, where the destination is no host memory, written to it: in this order, unless that memory
// verifies better than we do.
Result<void> ReceiveTable::take_over(const PartHeader& header, std::span<const std::byte> bytes,
                                     std::span<std::byte> destination) const {
  const auto verified = [&](const Result<Hash128>& content) -> Result<void> {
    if (!content) return content.error();
    const BlockIdentity identity{header.transfer, header.index, header.hash};
    if (header.has_digest && block_digest(identity, *content) == header.digest) return {};
    return make_error(ErrorCode::corrupt,
                      "block " + std::to_string(header.index) +
                          (header.has_digest ? " does not match its digest" : " came without a digest"));
  };
  BlockMemory* const memory = options_.memory;
  const bool there = options_.digests && memory != nullptr && memory->hashes();
  if (options_.digests && !there)
    if (auto right = verified(content_digest(bytes, options_.piece_bytes)); !right) return right;
  if (memory == nullptr) return {};
  if (!options_.direct)
    if (auto written = memory->write(bytes, destination); !written) return written;
  if (!there) return {};
  return verified(content_digest_in(*memory, destination, options_.piece_bytes));
}

// Ends one landing of a block: counts, tells the sink, gives up the pin that begin() took.
void ReceiveTable::finish(const std::shared_ptr<Transfer>& transfer, std::uint32_t index,
                          Result<void> outcome, bool report) {
  std::unique_ptr<std::byte[]> staged;  // freed after the mutex
  Lock lock(mutex_);
  Slot& slot = transfer->slots.at(index);
  slot.state = outcome ? State::done : State::expected;
  staged = std::move(slot.staged);
  --counters_.in_flight;
  if (outcome) {
    ++counters_.blocks_received;
    counters_.bytes_received += slot.destination.size();
  } else if (outcome.error().code == ErrorCode::corrupt) {
    ++counters_.corrupt;
  }
  report = report && !transfer->closing;
  lock.unlock();
  if (report) transfer->sink->on_block(transfer->id, index, std::move(outcome));
  unpin(transfer);
}

// A block that is not what was expected. Nothing was written.
void ReceiveTable::refuse(Lock lock, std::shared_ptr<Transfer> transfer, std::uint32_t index, Error why) {
  ++counters_.corrupt;
  ++transfer->pins;
  lock.unlock();
  tasks_.post([this, transfer, index, error = std::move(why)]() mutable {
    Lock relock(mutex_);
    const bool report = !transfer->closing;
    relock.unlock();
    if (report) transfer->sink->on_block(transfer->id, index, std::move(error));
    unpin(transfer);
  });
}

void ReceiveTable::unpin(const std::shared_ptr<Transfer>& transfer) {
  Lock lock(mutex_);
  if (--transfer->pins > 0 || !transfer->closing) return;
  const std::shared_ptr<ReceiveSink> sink = std::move(transfer->sink);
  lock.unlock();
  sink->on_closed(transfer->id);
  lock.lock();
  --closing_;
  empty_.notify_all();
}

void ReceiveTable::count_dropped() {
  Lock lock(mutex_);
  ++counters_.dropped;
}

void ReceiveTable::add_counters(TransportCounters& counters) const {
  Lock lock(mutex_);
  counters.blocks_received = counters_.blocks_received;
  counters.bytes_received = counters_.bytes_received;
  counters.dropped = counters_.dropped;
  counters.corrupt = counters_.corrupt;
  counters.in_flight += counters_.in_flight;
}

}  // namespace baton::transfer
