// KvTransport: KV-cache blocks from one daemon's memory to another's. Bulk bytes only: who sends what to whom
// is agreed over the control stream (peer/).
//
// The receiver decides where bytes land: a block without a live, unguessable transfer id, an expected index
// and the expected hash is dropped before it touches memory. Each block carries a digest of its (layer, K/V,
// head) pieces, checked before on_block says ok; digests are computed by whoever finishes the block, or on
// the transport's own digest thread, never on the thread that drives the network. Every implementation passes
// test/transfer's contract suite. All methods may be called from any thread and return at once. Callbacks
// come from the transport's threads and must not block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"

namespace baton {

using TransferId = Hash128;  // random, drawn by the receiver, valid until closed

struct ExpectedBlock {
  std::uint32_t index = 0;           // position of the block in its sequence
  Hash128 hash;                      // what it holds: the block hash (of a partial last block: of its tokens)
  std::span<std::byte> destination;  // stays valid until on_closed
};

struct OutgoingBlock {
  TransferId transfer;
  std::uint32_t index = 0;
  Hash128 hash;
  std::span<const std::byte> bytes;  // stays valid and unchanged until `done`
  std::optional<Hash128> content{};  // KvTransport::content_digest(bytes), if known; else computed when sent
};

class ReceiveSink {
 public:
  virtual ~ReceiveSink() = default;
  // Landed and verified; or corrupt (digest, hash or size); or unavailable (its sender went away half-way).
  // After an error the block may be sent again. At most one success for each index; none after close().
  virtual void on_block(TransferId transfer, std::uint32_t index, Result<void> outcome) = 0;
  // After close(): from now on nothing touches the destinations. Exactly once, the last callback. A write
  // that is under way is waited for; one that comes from a silent peer ends when that peer is disconnected.
  virtual void on_closed(TransferId transfer) = 0;
};

// Called exactly once: the bytes are free again. Success says that they left, not that they arrived: that is
// what the receiver's control stream confirms.
using SendDone = std::function<void(Result<void>)>;

struct TransportCounters {
  std::uint64_t blocks_sent = 0, bytes_sent = 0, blocks_received = 0, bytes_received = 0;
  std::uint64_t dropped = 0;    // without a live transfer id or an expected index
  std::uint64_t corrupt = 0;    // digest or hash mismatch
  std::uint64_t in_flight = 0;  // sends not done plus receives not finished
};

class KvTransport {
 public:
  virtual ~KvTransport() = default;

  virtual std::string name() const = 0;  // "ucx", "loopback"
  virtual std::string link(
      const std::string& peer) const = 0;              // for people: "ucx/tcp", "ucx/rc_mlx5", "loopback"
  virtual std::vector<std::byte> address() const = 0;  // given to peers over the control stream
  virtual Result<void> connect(const std::string& peer, std::span<const std::byte> address) = 0;
  // The peer is dead or unwanted: sends to it fail with unavailable, what it was sending stops landing. A
  // peer is known by the address given to connect(), so both sides connect. Idempotent; connect() undoes it.
  virtual void disconnect(const std::string& peer) = 0;

  virtual Result<void> expect(TransferId transfer, std::vector<ExpectedBlock> blocks,
                              std::shared_ptr<ReceiveSink> sink) = 0;
  virtual void close(TransferId transfer) = 0;
  virtual void send(const std::string& peer, OutgoingBlock block, SendDone done) = 0;
  // For OutgoingBlock::content; nothing where this transport does without digests, or cannot read the bytes
  // here.
  virtual std::optional<Hash128> content_digest(std::span<const std::byte> bytes) const = 0;

  virtual TransportCounters counters() const = 0;
};

// Blocks that the CPU cannot touch, in a GPU's memory: how they get into host memory and out of it. Called on
// the transport's threads, on several at once; returns when the bytes are there.
class BlockMemory {
 public:
  virtual ~BlockMemory() = default;
  virtual Result<void> read(std::span<const std::byte> block, std::span<std::byte> host) = 0;
  virtual Result<void> write(std::span<const std::byte> host, std::span<std::byte> block) = 0;
  // Where hashes(): XXH3-128 of each `piece_bytes` of a block (the last may be fewer), computed where it
  // lies.
  virtual bool hashes() const { return false; }
  virtual Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> /*block*/,
                                                   std::size_t /*piece_bytes*/) {
    return make_error(ErrorCode::unsupported, "this memory does not hash its blocks");
  }
};

struct TransportOptions {
  bool digests = true;
  std::size_t piece_bytes = 0;  // bytes of one (layer, K/V, head) piece of a block; 0: the block is one piece
  std::size_t max_message_bytes = 4 << 20;  // larger blocks travel in parts
  std::string interface_address;  // the address that the transport's own sockets bind to; empty: any
  // Null: blocks lie in host memory. Else a block is read before it leaves, and one that has arrived is
  // verified in host memory and written then; or, where the memory has hashes, written and verified where it
  // lies, so that the digest covers the way through host memory, too. Must outlive the transport.
  BlockMemory* memory = nullptr;
  // The network itself reaches into `memory` (GPUDirect): blocks are neither read nor staged in host memory.
  // Needs hashes, where there are digests. A UCX transport sees for itself whether it can.
  bool direct = false;
  // "transfer.send" before a block leaves (drop: lost, fail: unavailable, corrupt: after its digest,
  // truncate: half of it),
  // "transfer.receive" before it is verified (drop: as if it never came). Hit on the digest thread: `hold`
  // delays the blocks behind it, not the network. May be null; must outlive the transport.
  FaultPoints* faults = nullptr;
  // For mutation tests: changes a copy of an outgoing block after its digest was computed. On the digest
  // thread.
  std::function<void(const OutgoingBlock& block, std::span<std::byte> copy)> corrupt_for_test;
};

// In one process: every loopback transport made from the same hub can reach the others. For tests, and for
// engines of one daemon.
class LoopbackHub;
std::shared_ptr<LoopbackHub> make_loopback_hub();
std::unique_ptr<KvTransport> make_loopback_transport(std::shared_ptr<LoopbackHub> hub,
                                                     const TransportOptions& options);

}  // namespace baton
