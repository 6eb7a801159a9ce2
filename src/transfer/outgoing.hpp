// One block on its way out, from send() to its `done`: the part of sending that all implementations share.
//
// Invariant: `done` is called exactly once, through finish(); until then block.bytes (or the copy) is in use.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "baton/transfer/kv_transport.hpp"
#include "part_header.hpp"

namespace baton::transfer {

struct SendCounters {
  std::atomic<std::uint64_t> blocks{0}, bytes{0}, in_flight{0}, attempts{0};
};

class Outgoing {
 public:
  // invalid_argument is for the caller to pass to `done`.
  Outgoing(std::string peer, OutgoingBlock block, SendDone done, SendCounters& counters);

  enum class Verdict { send, lost, refused };
  // Fault points, the digest, test mutations; `lost` counts as sent, `refused` says why in refusal(). On the
  // digest thread unless quick().
  Verdict prepare(const TransportOptions& options, Hash128 sender);
  const Error& refusal() const { return refusal_; }

  bool quick(const TransportOptions& options) const;  // prepare() need not read the block, nor wait

  void finish(Result<void> outcome);

  const std::string& peer() const { return peer_; }
  Result<void> check(const TransportOptions& options) const;
  const PartHeader& header() const { return header_; }  // of part 0
  std::span<const std::byte> bytes() const {
    return copy_.empty() ? block_.bytes : std::span<const std::byte>(copy_);
  }

 private:
  Result<Hash128> content_of(const TransportOptions& options) const;
  Verdict refuse(Error why);

  std::string peer_;
  OutgoingBlock block_;
  SendDone done_;
  SendCounters& counters_;
  PartHeader header_;
  Error refusal_;
  std::vector<std::byte>
      copy_;  // of a block that is not in host memory, or that something corrupts on purpose
};

}  // namespace baton::transfer
