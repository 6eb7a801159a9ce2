// HandoffSender: the prefill engine's half. Asks the decode engine for room when a prefill is scheduled,
// sends each block as soon as it is finished, keeps it pinned until the decode engine has verified all of
// them, and gives up cleanly: a refused or failed handoff only means that the decode engine recomputes.
//
// States of one handoff (docs/PROTOCOL.md): asked -> reserved -> received, or -> given_up from any of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/base/log.hpp"
#include "baton/engine/engine.hpp"
#include "baton/schedule/sequence.hpp"
#include "baton/transfer/kv_transport.hpp"
#include "engine/handoff.hpp"

namespace baton {

class HandoffSender {
 public:
  // `settled`: the prefill has ended and it is known whether its KV cache has a place to go; called once for
  // each ended sequence.
  using Settled = std::function<void(const RequestKey&, bool accepted)>;
  HandoffSender(const EngineOptions& options, const Engine::Parts& parts, Post post, Settled settled);

  // For Phase::prefill, when it starts or becomes one.
  void scheduled(const Sequence& sequence, TimePoint now);
  void progressed(const Sequence& sequence);             // its `computed` has grown
  void ended(const Sequence& sequence, TimePoint now);   // first token is out, decode goes on elsewhere
  void dropped(const RequestKey& key, std::string why);  // cancelled, failed, or ended by its first token

  void on_reserved(const std::string& from, const ReservedMessage& message, TimePoint now);
  void on_refused(const RefusedMessage& message);
  void on_resend(const std::string& from, const ResendMessage& message);
  void on_received(const ReceivedMessage& message);
  void on_abort(const AbortMessage& message);
  void peer_down(const std::string& node);
  void expire(TimePoint now);

  bool idle() const { return handoffs_.empty() && sends_in_flight_ == 0; }
  // At shutdown: gives everything up; the transport then fails what is still in flight.
  void abandon_all();
  std::uint64_t blocks_resent() const { return blocks_resent_; }
  std::uint64_t failed() const { return failed_; }

 private:
  enum class Stage : std::uint8_t { asked, reserved, received, given_up };
  struct Handoff {
    std::uint32_t generation = 0;
    std::string node;
    Stage stage = Stage::asked;
    bool ended = false;  // the prefill is done; `settled` is due or was called
    TransferId transfer;
    std::vector<TokenId> tokens;  // whose KV travels
    TravellingBlocks blocks;
    std::size_t first_new = 0;    // blocks before it were there when the handoff began
    std::size_t next = 0;         // first block not sent yet
    std::vector<BlockRef> known;  // by index, pinned as soon as finished
    std::vector<std::optional<Hash128>>
        contents;  // likewise: digests of those that were computed for this one
    std::vector<std::uint8_t> attempts;
    std::size_t in_flight = 0;
    TimePoint deadline{};
  };
  using Handoffs = std::unordered_map<RequestKey, Handoff, RequestKeyHasher>;

  Handoff* find(const RequestKey& key, std::uint32_t generation);
  void pin_finished(Handoff& handoff, const Sequence& sequence);
  std::span<const std::byte> bytes_of(const BlockRef& block) const;
  void send_ready(const RequestKey& key, Handoff& handoff);
  void send_block(const RequestKey& key, Handoff& handoff, std::size_t index);
  void sent(const RequestKey& key, std::uint32_t generation, Result<void> outcome);
  // Something went wrong (give_up, counted), or nobody wants it any more (release).
  void give_up(const RequestKey& key, Handoff& handoff, const std::string& why, bool tell_peer);
  void release(const RequestKey& key, Handoff& handoff, const std::string& why, bool tell_peer);
  void erase_if_done(const RequestKey& key);

  const EngineOptions options_;
  KvTransport& transport_;
  ControlPlane& control_;
  const KvView kv_;
  Logger& logger_;
  FaultPoints& faults_;
  Post post_;
  Settled settled_;
  Handoffs handoffs_;
  std::size_t sends_in_flight_ = 0;  // of all handoffs, erased ones included
  std::uint64_t blocks_resent_ = 0;
  std::uint64_t failed_ = 0;
};

}  // namespace baton
