#include "engine/handoff_receiver.hpp"

#include <algorithm>
#include <random>
#include <utility>

namespace baton {
namespace {

constexpr std::size_t kMaxTombstones = 4096;

// Unguessable: a peer (or anybody at the transport's port) must know it to write into this engine's pool.
TransferId draw_transfer_id() {
  thread_local std::random_device device;
  const auto word = [] { return static_cast<std::uint64_t>(device()) << 32 | device(); };
  return {word(), word()};
}

}  // namespace

struct HandoffReceiver::Reservation {
  std::uint32_t generation = 0;
  std::string from;
  TransferId transfer;
  std::vector<TokenId> tokens;
  std::vector<BlockHash> full_hashes;
  TravellingBlocks travelling;
  SequenceBlocks blocks;  // held ones, then fresh ones
  std::size_t held = 0;   // in blocks of tokens
  std::size_t fresh = 0;
  std::vector<bool> verified;  // of those that travel
  std::size_t missing = 0;

  bool is_awaited(std::size_t index) const {
    return index < verified.size() && travelling.block_of(index) >= held && travelling.travels(index) &&
           !verified[index];
  }
  TimePoint reserved{}, last_landed{};
  TimePoint deadline{};
  bool parked = false;  // its decode request waits for it
};

class HandoffReceiver::Landing final : public ReceiveSink {
 public:
  Landing(HandoffReceiver& receiver, Post post) : receiver_(receiver), post_(std::move(post)) {}
  // The posted callbacks run on the engine thread, which owns the receiver and stops running them before the
  // receiver is destroyed.
  void on_block(TransferId transfer, std::uint32_t index, Result<void> outcome) override {
    post_([this, transfer, index, outcome = std::move(outcome)] {
      receiver_.landed(transfer, index, outcome);
    });
  }
  void on_closed(TransferId transfer) override {
    post_([this, transfer] { receiver_.closed(transfer); });
  }

 private:
  HandoffReceiver& receiver_;
  Post post_;
};

HandoffReceiver::HandoffReceiver(const EngineOptions& options, const Engine::Parts& parts, BlockPool& pool,
                                 Post post, Deliver deliver)
    : options_(options),
      transport_(*parts.transport),
      control_(*parts.control),
      kv_(parts.kv),
      clock_(*parts.clock),
      logger_(*parts.logger),
      pool_(pool),
      post_(post),
      deliver_(std::move(deliver)),
      role_(options.role),
      landing_(std::make_shared<Landing>(*this, std::move(post))) {}

HandoffReceiver::~HandoffReceiver() = default;

void HandoffReceiver::on_reserve(const std::string& from, const ReserveMessage& message,
                                 const BlockHashKey& hash_key, TimePoint now) {
  if (is_dead(message.key, message.generation)) {
    control_.send(from, AbortMessage{message.key, message.generation});
    return;
  }
  if (const auto found = reservations_.find(message.key); found != reservations_.end()) {
    if (found->second->generation >= message.generation) return;  // repeated or stale
    release(message.key, "superseded by a newer attempt", false);
  }
  auto made = reserve(from, message, hash_key);
  if (!made) {
    control_.send(from, RefusedMessage{message.key, message.generation, made.error()});
    return;
  }
  Reservation& reservation = **made;
  reservation.reserved = reservation.last_landed = now;
  reservation.deadline = now + std::chrono::milliseconds(message.ttl_ms) + options_.reserve_timeout;
  blocks_reserved_ += reservation.missing;
  by_transfer_.emplace(reservation.transfer, message.key);
  reservations_.emplace(message.key, std::move(*made));
  control_.send(from, ReservedMessage{message.key, message.generation, reservation.transfer,
                                      static_cast<std::uint32_t>(reservation.held)});
  if (reservation.missing == 0) complete(message.key, reservation);
}

Result<void> HandoffReceiver::admit_within_share(std::size_t blocks) const {
  const double share = role_ == Role::decode ? 1.0 : options_.reservation_share;
  const auto limit = static_cast<std::size_t>(share * static_cast<double>(pool_.total()));
  if (blocks_reserved_ + blocks > limit) {
    return make_error(ErrorCode::out_of_memory, "KV cache on its way already holds " +
                                                    std::to_string(blocks_reserved_) + " of " +
                                                    std::to_string(limit) + " blocks");
  }
  return {};
}

Result<std::unique_ptr<HandoffReceiver::Reservation>> HandoffReceiver::reserve(const std::string& from,
                                                                               const ReserveMessage& message,
                                                                               const BlockHashKey& hash_key) {
  auto reservation = std::make_unique<Reservation>();
  reservation->generation = message.generation;
  reservation->from = from;
  reservation->tokens = message.tokens;
  reservation->full_hashes = block_hashes(message.tokens, kv_.layout.block_size, hash_key);
  reservation->blocks = pool_.match(reservation->full_hashes, message.tokens);
  reservation->held = reservation->blocks.size();
  const TravellingBlocks& travelling = reservation->travelling =
      TravellingBlocks(message.tokens, reservation->full_hashes, kv_.layout);
  reservation->verified.resize(travelling.size());
  const std::size_t first = reservation->held * travelling.width();
  for (std::size_t i = first; i < travelling.size(); ++i) reservation->fresh += travelling.travels(i);
  reservation->missing = reservation->fresh;
  if (auto room = admit_within_share(reservation->missing); !room) return room.error();
  auto extended = pool_.extend(reservation->blocks, static_cast<std::int32_t>(message.tokens.size()));
  if (!extended) return std::move(extended).error();

  reservation->transfer = draw_transfer_id();
  std::vector<ExpectedBlock> expected;
  for (std::size_t i = first; i < travelling.size(); ++i) {
    if (!travelling.travels(i)) continue;
    const BlockId id = reservation->blocks.at(travelling.block_of(i), travelling.group_of(i)).id();
    expected.push_back(
        {static_cast<std::uint32_t>(i), travelling.hash(i), {kv_.block(id), kv_.layout.block_bytes()}});
  }
  if (!expected.empty()) {
    if (auto armed = transport_.expect(reservation->transfer, std::move(expected), landing_); !armed)
      return armed.error();
  }
  return reservation;
}

void HandoffReceiver::on_abort(const AbortMessage& message) {
  const auto found = reservations_.find(message.key);
  if (found == reservations_.end() || found->second->generation != message.generation) return;
  release(message.key, "the other side gave up", false);  // complete ones too: no decode request will come
}

std::optional<HandoffReceiver::Delivery> HandoffReceiver::claim(const Request& request, TimePoint now) {
  const RequestKey key = key_of(request);
  const auto found = reservations_.find(key);
  if (found == reservations_.end()) return Delivery{};
  Reservation& reservation = *found->second;
  const std::size_t all = request.prompt.size() + request.output.size();
  // The cache must be that of this very text, all but its newest token.
  const bool fits = reservation.generation == request.generation && reservation.tokens.size() + 1 == all &&
                    std::equal(request.prompt.begin(), request.prompt.end(), reservation.tokens.begin());
  if (!fits) {
    fail(key, "the decode request is another text or attempt", true);
    return Delivery{};
  }
  if (reservation.missing > 0) {
    reservation.parked = true;
    reservation.deadline = std::min(now + options_.transfer_timeout, request.deadline);
    return std::nullopt;
  }
  Delivery delivery = take(reservation);
  reservations_.erase(key);
  return delivery;
}

void HandoffReceiver::cancel(const RequestKey& key, std::uint32_t generation) {
  if (reservations_.contains(key)) {
    reservations_.at(key)->parked = false;
    release(key, "cancelled", true);
    return;
  }
  tombstones_.emplace_back(key, generation);
  if (tombstones_.size() > kMaxTombstones) tombstones_.pop_front();
}

void HandoffReceiver::peer_down(const std::string& node) {
  std::vector<RequestKey> keys;
  for (const auto& [key, reservation] : reservations_)
    if (reservation->from == node && reservation->missing > 0) keys.push_back(key);
  for (const RequestKey& key : keys) fail(key, "the prefill node is gone", false);
}

void HandoffReceiver::expire(TimePoint now) {
  std::vector<RequestKey> late;
  for (const auto& [key, reservation] : reservations_)
    if (now >= reservation->deadline) late.push_back(key);
  for (const RequestKey& key : late) fail(key, "deadline", true);
}

void HandoffReceiver::abandon_all() {
  while (!reservations_.empty()) release(reservations_.begin()->first, "the engine stops", true);
}

void HandoffReceiver::landed(TransferId transfer, std::uint32_t index, const Result<void>& outcome) {
  const auto known = by_transfer_.find(transfer);
  if (known == by_transfer_.end()) return;
  const RequestKey key = known->second;
  Reservation& reservation = *reservations_.at(key);
  if (!outcome) {
    ++blocks_corrupt_;
    logger_.warn("a KV block arrived corrupt",
                 {{"request", to_hex(key.id)}, {"from", reservation.from}, {"block", index}});
    if (!control_.send(reservation.from, ResendMessage{key, reservation.generation, index}))
      fail(key, "no way to ask again", false);
    return;
  }
  if (!reservation.is_awaited(index)) return;
  reservation.verified[index] = true;
  reservation.last_landed = clock_.now();
  meter_.arrived(static_cast<double>(kv_.layout.block_bytes()),
                 to_seconds(reservation.last_landed.time_since_epoch()));
  publish(reservation, index);
  if (--reservation.missing == 0) complete(key, reservation);
}

void HandoffReceiver::publish(const Reservation& reservation, std::size_t index) {
  const std::size_t block = reservation.travelling.block_of(index);
  if (block >= reservation.full_hashes.size()) return;  // the partial last block has no identity in the cache
  const std::int32_t group = reservation.travelling.group_of(index);
  const auto size = static_cast<std::size_t>(kv_.layout.block_size);
  pool_.publish(reservation.blocks.at(block, group), reservation.full_hashes[block],
                std::span(reservation.tokens).subspan(block * size, size), group);
}

void HandoffReceiver::complete(const RequestKey& key, Reservation& reservation) {
  blocks_reserved_ -= reservation.fresh;
  by_transfer_.erase(reservation.transfer);
  transport_.close(reservation.transfer);  // all blocks are here and verified: nothing more can land
  control_.send(reservation.from, ReceivedMessage{key, reservation.generation});
  reservation.deadline = clock_.now() + options_.transfer_timeout;  // for the decode request to come
  if (!reservation.parked) return;
  Delivery delivery = take(reservation);
  reservations_.erase(key);
  deliver_(key, std::move(delivery));
}

HandoffReceiver::Delivery HandoffReceiver::take(Reservation& reservation) {
  Delivery delivery;
  delivery.computed = static_cast<std::int32_t>(reservation.tokens.size());
  delivery.info.blocks_held = static_cast<std::uint32_t>(reservation.blocks.pinned() - reservation.fresh);
  delivery.blocks = std::move(reservation.blocks);
  delivery.info.prefill_node = reservation.from;
  delivery.info.decode_node = options_.node_name;
  delivery.info.blocks_moved = static_cast<std::uint32_t>(reservation.fresh);
  delivery.info.bytes = delivery.info.blocks_moved * kv_.layout.block_bytes();
  delivery.info.transport = transport_.link(reservation.from);
  delivery.info.milliseconds = to_milliseconds(reservation.last_landed - reservation.reserved);
  return delivery;
}

void HandoffReceiver::fail(const RequestKey& key, const std::string& why, bool tell_peer) {
  if (!reservations_.contains(key)) return;
  ++failed_;
  release(key, why, tell_peer);
}

void HandoffReceiver::release(RequestKey key, const std::string& why, bool tell_peer) {
  const auto found = reservations_.find(key);
  if (found == reservations_.end()) return;
  std::unique_ptr<Reservation> reservation = std::move(found->second);
  reservations_.erase(found);
  logger_.debug("KV cache on its way given up",
                {{"request", to_hex(key.id)}, {"from", reservation->from}, {"why", why}});
  if (tell_peer) control_.send(reservation->from, AbortMessage{key, reservation->generation});
  if (reservation->missing > 0) {
    blocks_reserved_ -= reservation->fresh;
    by_transfer_.erase(reservation->transfer);
    closing_.emplace(reservation->transfer, std::move(reservation->blocks));
    transport_.close(reservation->transfer);
  }
  if (reservation->parked) deliver_(key, Delivery{});
}

void HandoffReceiver::closed(TransferId transfer) { closing_.erase(transfer); }

bool HandoffReceiver::is_dead(const RequestKey& key, std::uint32_t generation) const {
  return std::any_of(tombstones_.begin(), tombstones_.end(),
                     [&](const auto& dead) { return dead.first == key && dead.second >= generation; });
}

}  // namespace baton
