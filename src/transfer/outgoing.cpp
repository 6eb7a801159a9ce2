#include "outgoing.hpp"

#include <algorithm>
#include <utility>

#include "digest.hpp"

namespace baton::transfer {

Outgoing::Outgoing(std::string peer, OutgoingBlock block, SendDone done, SendCounters& counters)
    : peer_(std::move(peer)), block_(block), done_(std::move(done)), counters_(counters) {
  ++counters_.in_flight;
}

Result<void> Outgoing::check(const TransportOptions& options) const {
  if (block_.bytes.empty()) return make_error(ErrorCode::invalid_argument, "an empty block", "bytes");
  const std::size_t part = std::max<std::size_t>(options.max_message_bytes, 1);
  if ((block_.bytes.size() - 1) / part >= kMaxParts)
    return make_error(ErrorCode::too_large, "the block needs more than 65536 parts", "bytes");
  return {};
}

bool Outgoing::quick(const TransportOptions& options) const {
  return (block_.content || !options.digests) && options.memory == nullptr && options.faults == nullptr &&
         !options.corrupt_for_test;
}

Outgoing::Verdict Outgoing::prepare(const TransportOptions& options, Hash128 sender) {
  header_.transfer = block_.transfer;
  header_.hash = block_.hash;
  header_.sender = sender;
  header_.attempt = ++counters_.attempts;
  header_.index = block_.index;
  const FaultAction fault = options.faults ? options.faults->hit("transfer.send") : FaultAction::none;
  if (fault == FaultAction::truncate && block_.bytes.size() > 1)
    block_.bytes = block_.bytes.first(block_.bytes.size() / 2);
  header_.total_bytes = block_.bytes.size();
  header_.part_bytes =
      std::min<std::uint64_t>(block_.bytes.size(), std::max<std::size_t>(options.max_message_bytes, 1));
  if (fault == FaultAction::fail)
    return refuse(make_error(ErrorCode::unavailable, "failed by a fault point"));
  if (fault == FaultAction::drop) return Verdict::lost;
  const auto read = [&] {
    copy_.resize(block_.bytes.size());
    return options.memory->read(block_.bytes, copy_);
  };
  if (options.memory != nullptr && !options.direct)
    if (const auto done = read(); !done) return refuse(done.error());
  if (options.digests) {
    const Result<Hash128> content = content_of(options);
    if (!content) return refuse(content.error());
    header_.has_digest = true;
    header_.digest = block_digest({block_.transfer, block_.index, block_.hash}, *content);
  }
  if ((fault == FaultAction::corrupt || options.corrupt_for_test) && copy_.empty()) {
    if (options.memory == nullptr)
      copy_.assign(block_.bytes.begin(), block_.bytes.end());
    else if (const auto done = read(); !done)
      return refuse(done.error());
  }
  if (fault == FaultAction::corrupt) copy_[copy_.size() / 2] ^= std::byte{0x40};
  if (options.corrupt_for_test) options.corrupt_for_test(block_, copy_);
  return Verdict::send;
}

Outgoing::Verdict Outgoing::refuse(Error why) {
  refusal_ = std::move(why);
  return Verdict::refused;
}

Result<Hash128> Outgoing::content_of(const TransportOptions& options) const {
  if (block_.content) return *block_.content;
  if (options.memory != nullptr && options.memory->hashes())
    return content_digest_in(*options.memory, block_.bytes, options.piece_bytes);
  return content_digest(bytes(), options.piece_bytes);
}

void Outgoing::finish(Result<void> outcome) {
  if (outcome) {
    ++counters_.blocks;
    counters_.bytes += block_.bytes.size();
  }
  // Counted down first: whoever learns of the end from `done` finds it in the counters.
  --counters_.in_flight;
  if (const SendDone done = std::exchange(done_, nullptr)) done(std::move(outcome));
}

}  // namespace baton::transfer
