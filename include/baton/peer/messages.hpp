// What daemons say to each other over the authenticated control stream. docs/PROTOCOL.md has the state
// tables.
//
// Every message about a request carries its key and generation; a receiver ignores what is older than what it
// knows (tombstones), so messages are idempotent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/cache/block.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/request.hpp"
#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/service.hpp"

namespace baton {

// Accepting daemon -> engine.
struct SubmitMessage {
  Request request;
};  // deadline travels as the time that is left, the grammar as its text
struct CancelMessage {
  RequestKey key;
  std::uint32_t generation = 0;
};

// Engine -> accepting daemon.
struct TokensMessage {
  std::vector<TokenEvent> events;
};  // one message per step and accepting daemon
struct FinishMessage {
  FinishEvent event;
};
struct FailMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  Error error;
};

// Prefill engine -> decode engine: hold room for this prompt's KV cache.
struct ReserveMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  std::vector<TokenId> tokens;  // whose KV will be sent: the whole prompt (plus output that is already there)
  std::string block_salt;
  std::uint32_t ttl_ms = 0;
};
// Decode engine -> prefill engine.
struct ReservedMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  Hash128 transfer;               // where to send; unguessable
  std::uint32_t blocks_held = 0;  // leading blocks of tokens already here; only the rest shall travel
};
struct RefusedMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  Error error;
};
struct ResendMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  std::uint32_t index = 0;
};  // arrived corrupt
struct ReceivedMessage {
  RequestKey key;
  std::uint32_t generation = 0;
};  // all blocks verified: the sender may release them
// Either side -> the other: give up on this handoff.
struct AbortMessage {
  RequestKey key;
  std::uint32_t generation = 0;
};

// Accepting daemon -> engine: this request goes on at `decode_node`. Its KV cache is to be handed over there,
// as a prefill engine does, after the token that is computed now.
struct MoveMessage {
  RequestKey key;
  std::uint32_t generation = 0;
  std::string decode_node;
};

// Engine -> everyone: what its prefix cache holds. sequence counts messages; a gap, or another digest than
// the receiver's own, makes it ask for a snapshot. A hash stands in one of the lists, once.
struct BlockEventsMessage {
  std::uint64_t sequence = 0;
  bool snapshot = false;  // `stored` is everything
  std::vector<BlockHash> stored;
  std::vector<BlockHash> removed;
  BlockSetDigest digest;  // of all that the engine holds after this message
};
struct SnapshotRequestMessage {};

// A node's figures for people: GET /cluster and `baton top`. Totals since its start.
struct NodeFigures {
  std::uint64_t prefix_queried_tokens = 0, prefix_hit_tokens = 0;
  std::uint64_t blocks_sent = 0, blocks_received = 0, bytes_sent = 0, bytes_received = 0;
  std::uint64_t transfers_in_flight = 0, transfers_failed = 0;
  // Of the requests that it accepted: those that are here, and the latencies of the latest that ended, in
  // milliseconds; 0: none yet.
  std::uint64_t accepted = 0;
  double ttft_p50 = 0, ttft_p99 = 0, itl_p50 = 0, itl_p99 = 0;
};

// Engine -> everyone, with every heartbeat, and at once when its role or `draining` changes.
struct StatusMessage {
  Role role = Role::mixed;
  bool ready = false;
  bool draining = false;
  std::uint32_t running = 0;
  std::uint32_t waiting = 0;
  std::uint64_t waiting_prefill_tokens = 0;
  std::uint32_t blocks_total = 0;
  std::uint32_t blocks_in_use = 0;
  std::uint64_t kv_tokens = 0;                          // contexts of the running requests, added up
  std::uint32_t max_batch_tokens = 0;                   // rows of a step
  std::uint64_t prefill_tokens = 0, decode_tokens = 0;  // computed since its start
  bool auto_roles = false;  // takes part in `--roles auto`: may be given roles, and may give them
  PerfProfile profile;      // what its steps cost, as measured so far
  NodeFigures figures;
};

// Daemon -> daemon: an operator, or the cluster's own controller, wants this engine in another role.
struct SetRoleMessage {
  Role role = Role::mixed;
};

using Message =
    std::variant<SubmitMessage, CancelMessage, TokensMessage, FinishMessage, FailMessage, ReserveMessage,
                 ReservedMessage, RefusedMessage, ResendMessage, ReceivedMessage, AbortMessage,
                 BlockEventsMessage, SnapshotRequestMessage, StatusMessage, MoveMessage, SetRoleMessage>;

// CBOR. decode checks every field: a malformed frame is `corrupt`, never undefined behaviour. `now` turns
// deadlines into time left and back.
std::vector<std::byte> encode_message(const Message& message, TimePoint now);
Result<Message> decode_message(std::span<const std::byte> bytes, TimePoint now);

}  // namespace baton
