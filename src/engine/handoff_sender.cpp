#include "engine/handoff_sender.hpp"

#include <algorithm>
#include <utility>

namespace baton {
namespace {

constexpr std::uint8_t kMaxAttempts =
    4;  // of one block: beyond it something is broken for good, and recomputing is cheaper

}  // namespace

HandoffSender::HandoffSender(const EngineOptions& options, const Engine::Parts& parts, Post post,
                             Settled settled)
    : options_(options),
      transport_(*parts.transport),
      control_(*parts.control),
      kv_(parts.kv),
      logger_(*parts.logger),
      faults_(*parts.faults),
      post_(std::move(post)),
      settled_(std::move(settled)) {}

void HandoffSender::scheduled(const Sequence& sequence, TimePoint now) {
  const Request& request = sequence.request;
  const RequestKey key = key_of(request);
  if (find(key, request.generation) != nullptr)
    return;              // scheduled again after a preemption: what was sent stays sent
  handoffs_.erase(key);  // an earlier generation's leftovers; sends still in flight keep their own pins
  Handoff handoff;
  handoff.generation = request.generation;
  handoff.node = request.decode_node;
  handoff.tokens = sequence.tokens;
  handoff.blocks = TravellingBlocks(handoff.tokens, sequence.hashes, kv_.layout);
  handoff.first_new =
      static_cast<std::size_t>(sequence.computed / kv_.layout.block_size) * handoff.blocks.width();
  handoff.known.resize(handoff.blocks.size());
  handoff.contents.resize(handoff.blocks.size());
  handoff.attempts.resize(handoff.blocks.size());
  handoff.deadline = now + options_.reserve_timeout;

  const auto ttl = std::chrono::duration_cast<std::chrono::milliseconds>(options_.transfer_timeout).count();
  const ReserveMessage reserve{key, handoff.generation, handoff.tokens, block_salt(request),
                               static_cast<std::uint32_t>(ttl)};
  Handoff& entry = handoffs_.emplace(key, std::move(handoff)).first->second;
  const bool lost = faults_.hit("handoff.reserve") != FaultAction::none;
  if (lost || !control_.send(entry.node, reserve))
    give_up(key, entry, "the decode node is not connected", false);
}

void HandoffSender::progressed(const Sequence& sequence) {
  const RequestKey key = key_of(sequence.request);
  Handoff* handoff = find(key, sequence.request.generation);
  if (handoff == nullptr || (handoff->stage != Stage::asked && handoff->stage != Stage::reserved)) return;
  pin_finished(*handoff, sequence);
  send_ready(key, *handoff);
}

void HandoffSender::ended(const Sequence& sequence, TimePoint now) {
  const RequestKey key = key_of(sequence.request);
  Handoff* handoff = find(key, sequence.request.generation);
  if (handoff == nullptr) {
    settled_(key, false);
    return;
  }
  handoff->ended = true;
  switch (handoff->stage) {
    case Stage::asked:
      handoff->deadline = now + options_.reserve_timeout;
      break;
    case Stage::reserved:
      handoff->deadline = now + options_.transfer_timeout;
      settled_(key, true);
      break;
    case Stage::received:
      settled_(key, true);
      erase_if_done(key);
      break;
    case Stage::given_up:
      settled_(key, false);
      erase_if_done(key);
      break;
  }
}

void HandoffSender::dropped(const RequestKey& key, std::string why) {
  const auto found = handoffs_.find(key);
  if (found == handoffs_.end()) return;
  Handoff& handoff = found->second;
  handoff.ended = true;
  if (handoff.stage == Stage::received)
    control_.send(handoff.node, AbortMessage{key, handoff.generation});  // no decode request will claim it
  else
    release(key, handoff, why, true);
  erase_if_done(key);
}

void HandoffSender::on_reserved(const std::string& from, const ReservedMessage& message, TimePoint now) {
  Handoff* handoff = find(message.key, message.generation);
  if (handoff == nullptr || handoff->stage == Stage::given_up) {
    control_.send(from, AbortMessage{message.key, message.generation});  // nobody will use the room it holds
    return;
  }
  if (handoff->stage != Stage::asked || from != handoff->node) return;
  handoff->stage = Stage::reserved;
  handoff->transfer = message.transfer;
  handoff->next =
      std::min<std::size_t>(message.blocks_held, handoff->blocks.depth()) * handoff->blocks.width();
  handoff->deadline = handoff->ended ? now + options_.transfer_timeout : TimePoint::max();
  send_ready(message.key, *handoff);
  // send_ready may have failed and given up; `settled` is due exactly once either way.
  if (handoff->ended && handoff->stage == Stage::reserved) settled_(message.key, true);
}

void HandoffSender::on_refused(const RefusedMessage& message) {
  if (Handoff* handoff = find(message.key, message.generation)) {
    give_up(message.key, *handoff, "refused: " + message.error.message, false);
    erase_if_done(message.key);
  }
}

void HandoffSender::on_resend(const std::string& from, const ResendMessage& message) {
  Handoff* handoff = find(message.key, message.generation);
  if (handoff == nullptr || handoff->stage != Stage::reserved || from != handoff->node) return;
  if (message.index >= handoff->next || !handoff->known[message.index]) return;
  ++blocks_resent_;
  send_block(message.key, *handoff, message.index);
}

void HandoffSender::on_received(const ReceivedMessage& message) {
  Handoff* handoff = find(message.key, message.generation);
  if (handoff == nullptr || handoff->stage != Stage::reserved) return;
  handoff->stage = Stage::received;
  handoff->known.clear();  // verified there: the pins are no longer needed here
  erase_if_done(message.key);
}

void HandoffSender::on_abort(const AbortMessage& message) {
  if (Handoff* handoff = find(message.key, message.generation)) {
    release(message.key, *handoff, "the decode node gave up", false);
    erase_if_done(message.key);
  }
}

void HandoffSender::peer_down(const std::string& node) {
  std::vector<RequestKey> keys;
  for (const auto& [key, handoff] : handoffs_)
    if (handoff.node == node) keys.push_back(key);
  for (const RequestKey& key : keys) {
    give_up(key, handoffs_.at(key), "the decode node is gone", false);
    erase_if_done(key);
  }
}

void HandoffSender::expire(TimePoint now) {
  std::vector<RequestKey> late;
  for (const auto& [key, handoff] : handoffs_) {
    const bool waits = handoff.stage == Stage::asked || handoff.stage == Stage::reserved;
    if (waits && handoff.ended && now >= handoff.deadline) late.push_back(key);
  }
  for (const RequestKey& key : late) {
    give_up(key, handoffs_.at(key), "deadline", true);
    erase_if_done(key);
  }
}

void HandoffSender::abandon_all() {
  std::vector<std::pair<RequestKey, std::string>> all;
  for (const auto& [key, handoff] : handoffs_) all.emplace_back(key, handoff.node);
  for (const auto& [key, node] : all) {
    dropped(key, "the engine stops");
    transport_.disconnect(node);
  }
}

HandoffSender::Handoff* HandoffSender::find(const RequestKey& key, std::uint32_t generation) {
  const auto found = handoffs_.find(key);
  return found != handoffs_.end() && found->second.generation == generation ? &found->second : nullptr;
}

// A full block is finished when its last token is computed; the partial last one when all tokens are.
void HandoffSender::pin_finished(Handoff& handoff, const Sequence& sequence) {
  const auto size = static_cast<std::size_t>(kv_.layout.block_size);
  const auto computed = static_cast<std::size_t>(std::max(sequence.computed, 0));
  const bool all = computed >= handoff.tokens.size();
  const TravellingBlocks& blocks = handoff.blocks;
  const std::size_t finished = all ? blocks.size() : computed / size * blocks.width();
  for (std::size_t i = 0; i < finished; ++i) {
    if (handoff.known[i] || !blocks.travels(i)) continue;
    handoff.known[i] = sequence.blocks.at(blocks.block_of(i), blocks.group_of(i)).share();
    // A chunk's worth, just written. What was there before, out of the prefix cache or of a request that
    // moves, may be thousands of blocks at once: those are left to the transport's digest thread.
    if (i >= handoff.first_new) handoff.contents[i] = transport_.content_digest(bytes_of(handoff.known[i]));
  }
}

std::span<const std::byte> HandoffSender::bytes_of(const BlockRef& block) const {
  return {kv_.block(block.id()), kv_.layout.block_bytes()};
}

void HandoffSender::send_ready(const RequestKey& key, Handoff& handoff) {
  while (handoff.stage == Stage::reserved && handoff.next < handoff.known.size()) {
    const std::size_t index = handoff.next;
    const bool travels = handoff.blocks.travels(index);
    if (travels && !handoff.known[index]) return;
    ++handoff.next;
    if (travels) send_block(key, handoff, index);
  }
}

void HandoffSender::send_block(const RequestKey& key, Handoff& handoff, std::size_t index) {
  if (++handoff.attempts[index] > kMaxAttempts) {
    give_up(key, handoff, "block " + std::to_string(index) + " arrived corrupt too often", true);
    return;
  }
  const OutgoingBlock out{handoff.transfer, static_cast<std::uint32_t>(index), handoff.blocks.hash(index),
                          bytes_of(handoff.known[index]), handoff.contents[index]};
  ++handoff.in_flight;
  ++sends_in_flight_;
  // The pin travels with the send, so the bytes stay as they are until the transport is done with them,
  // whatever becomes of the request.
  auto pin = std::make_shared<BlockRef>(handoff.known[index].share());
  transport_.send(handoff.node, out, [this, key, generation = handoff.generation, pin](Result<void> outcome) {
    post_([this, key, generation, pin, outcome = std::move(outcome)] {
      pin->reset();
      --sends_in_flight_;
      sent(key, generation, outcome);
    });
  });
}

void HandoffSender::sent(const RequestKey& key, std::uint32_t generation, Result<void> outcome) {
  Handoff* handoff = find(key, generation);
  if (handoff == nullptr) return;
  --handoff->in_flight;
  if (!outcome && handoff->stage == Stage::reserved) give_up(key, *handoff, outcome.error().message, true);
  erase_if_done(key);
}

void HandoffSender::give_up(const RequestKey& key, Handoff& handoff, const std::string& why, bool tell_peer) {
  if (handoff.stage == Stage::given_up || handoff.stage == Stage::received) return;
  ++failed_;
  release(key, handoff, why, tell_peer);
}

void HandoffSender::release(const RequestKey& key, Handoff& handoff, const std::string& why, bool tell_peer) {
  if (handoff.stage == Stage::given_up || handoff.stage == Stage::received) return;
  const bool was_asked = handoff.stage == Stage::asked;
  handoff.stage = Stage::given_up;
  handoff.known.clear();
  if (tell_peer) control_.send(handoff.node, AbortMessage{key, handoff.generation});
  logger_.debug("handoff given up", {{"request", to_hex(key.id)}, {"node", handoff.node}, {"why", why}});
  if (handoff.ended && was_asked) settled_(key, false);
}

void HandoffSender::erase_if_done(const RequestKey& key) {
  const auto found = handoffs_.find(key);
  if (found == handoffs_.end()) return;
  const Handoff& handoff = found->second;
  const bool over = handoff.stage == Stage::received || handoff.stage == Stage::given_up;
  if (over && handoff.ended && handoff.in_flight == 0) handoffs_.erase(found);
}

}  // namespace baton
