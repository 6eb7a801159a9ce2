// HandoffReceiver: the decode engine's half. Holds room for KV cache on its way, publishes each block once it
// is verified, and hands the complete block table to the decode request. Whatever goes wrong (corrupt, late,
// peer gone, aborted), the request is computed from its tokens instead: never from unverified KV.
//
// States of one reservation (docs/PROTOCOL.md): receiving -> complete -> claimed, or -> closing from
// receiving: its fresh blocks stay pinned until the transport says that nothing can write into them any more.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "baton/base/log.hpp"
#include "baton/engine/engine.hpp"
#include "baton/schedule/sequence.hpp"
#include "baton/transfer/kv_transport.hpp"
#include "engine/handoff.hpp"

namespace baton {

class HandoffReceiver {
 public:
  // What a decode request starts with: the received blocks, or nothing (then it recomputes).
  struct Delivery {
    SequenceBlocks blocks;
    std::int32_t computed = 0;
    HandoffInfo info;
  };
  // `deliver`: a parked request's cache is complete, or will not come.
  using Deliver = std::function<void(const RequestKey&, Delivery)>;
  HandoffReceiver(const EngineOptions& options, const Engine::Parts& parts, BlockPool& pool, Post post,
                  Deliver deliver);
  ~HandoffReceiver();

  void on_reserve(const std::string& from, const ReserveMessage& message, const BlockHashKey& hash_key,
                  TimePoint now);
  void on_abort(const AbortMessage& message);
  // The decode request is here. A Delivery where its cache is complete or will not come; nothing where it is
  // on its way: `deliver` follows.
  std::optional<Delivery> claim(const Request& request, TimePoint now);
  void cancel(const RequestKey& key, std::uint32_t generation);  // also before its reservation arrives
  void peer_down(const std::string& node);
  void expire(TimePoint now);
  void abandon_all();  // at shutdown
  void set_role(Role role) { role_ = role; }

  bool idle() const { return reservations_.empty() && closing_.empty(); }
  std::size_t live() const { return reservations_.size(); }
  std::uint64_t failed() const { return failed_; }
  std::uint64_t blocks_corrupt() const { return blocks_corrupt_; }
  double link_rate() const { return meter_.rate(); }  // bytes a second; 0: not known yet

 private:
  struct Reservation;
  class Landing;  // the transport's ReceiveSink, posting to the engine thread
  using Reservations = std::unordered_map<RequestKey, std::unique_ptr<Reservation>, RequestKeyHasher>;

  Result<std::unique_ptr<Reservation>> reserve(const std::string& from, const ReserveMessage& message,
                                               const BlockHashKey& hash_key);
  Result<void> admit_within_share(std::size_t blocks) const;
  void landed(TransferId transfer, std::uint32_t index, const Result<void>& outcome);
  void closed(TransferId transfer);
  void publish(const Reservation& reservation, std::size_t index);
  void complete(const RequestKey& key, Reservation& reservation);
  // Gives a reservation up: because something went wrong (fail, counted), or because nobody wants it any
  // more.
  void fail(const RequestKey& key, const std::string& why, bool tell_peer);
  // `key` by value: callers may pass the key of the very entry that goes.
  void release(RequestKey key, const std::string& why, bool tell_peer);
  Delivery take(Reservation& reservation);
  bool is_dead(const RequestKey& key, std::uint32_t generation) const;

  const EngineOptions options_;
  KvTransport& transport_;
  ControlPlane& control_;
  const KvView kv_;
  const Clock& clock_;
  Logger& logger_;
  BlockPool& pool_;
  Post post_;
  Deliver deliver_;
  Role role_;
  std::shared_ptr<Landing>
      landing_;  // shared with the transport, which may call it after this is gone: it only posts
  Reservations reservations_;
  std::unordered_map<TransferId, RequestKey> by_transfer_;
  std::unordered_map<TransferId, SequenceBlocks> closing_;  // pins of given-up transfers until on_closed
  std::deque<std::pair<RequestKey, std::uint32_t>>
      tombstones_;  // cancelled before their reservation came; bounded
  std::size_t blocks_reserved_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t blocks_corrupt_ = 0;
  LinkMeter meter_;
};

}  // namespace baton
