// The messages' fields, in wire order, and the two functions over them. docs/PROTOCOL.md lists the same.
//
// A message is the array [number, record]; the number is the alternative's index in Message, so a change to
// the variant's order or to any record raises kPeerProtocol.
#include "baton/peer/messages.hpp"

#include <array>

#include "peer/message_codec.hpp"
#include "peer/record.hpp"

namespace baton {

using peer::Decoder;
using peer::Encoder;
using peer::Enumerated;
using peer::field;
using peer::Finite;
using peer::kMaxBlockHashes;
using peer::kMaxGrammar;
using peer::kMaxItems;
using peer::Like;
using peer::Limited;
using peer::TimeLeft;
using peer::TimeSince;
using peer::TokenList;

void describe(auto& c, Like<RequestKey> auto& v) { c.record(field("id", v.id), field("choice", v.choice)); }

void describe(auto& c, Like<SamplingParams> auto& v) {
  c.record(Finite{"temperature", v.temperature}, Finite{"top_p", v.top_p}, Finite{"min_p", v.min_p},
           field("top_k", v.top_k), Finite{"presence_penalty", v.presence_penalty},
           Finite{"frequency_penalty", v.frequency_penalty},
           Finite{"repetition_penalty", v.repetition_penalty}, Limited{"logit_bias", v.logit_bias, kMaxItems},
           field("seed", v.seed), field("logprobs", v.logprobs));
}

void describe(auto& c, Like<StopRules> auto& v) {
  c.record(field("max_tokens", v.max_tokens), field("min_tokens", v.min_tokens),
           field("ignore_eos", v.ignore_eos), TokenList{"eos_token_ids", v.eos_token_ids},
           TokenList{"stop_token_ids", v.stop_token_ids});
}

void describe(auto& c, Like<Request> auto& v) {
  c.record(field("id", v.id), field("choice", v.choice), field("generation", v.generation),
           TokenList{"prompt", v.prompt}, TokenList{"output", v.output}, field("sampling", v.sampling),
           field("stop", v.stop), field("embed", v.embed), field("adapter", v.adapter),
           field("cache_salt", v.cache_salt), field("tenant", v.tenant), field("priority", v.priority),
           TimeSince{"arrival", v.arrival}, TimeLeft{"deadline", v.deadline},
           Enumerated{"phase", v.phase, Phase::decode}, field("prefill_node", v.prefill_node),
           field("decode_node", v.decode_node), Limited{"grammar", v.grammar, kMaxGrammar});
}

void describe(auto& c, Like<TokenLogprob> auto& v) {
  c.record(field("token", v.token), field("logprob", v.logprob));
}

void describe(auto& c, Like<SampledToken> auto& v) {
  c.record(field("token", v.token), field("logprob", v.logprob), Limited{"top", v.top, kMaxItems});
}

void describe(auto& c, Like<TokenEvent> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), field("index", v.index),
           field("token", v.token));
}

void describe(auto& c, Like<HandoffInfo> auto& v) {
  c.record(field("prefill_node", v.prefill_node), field("decode_node", v.decode_node),
           field("blocks_moved", v.blocks_moved), field("blocks_held", v.blocks_held),
           field("bytes", v.bytes), field("transport", v.transport), field("milliseconds", v.milliseconds),
           field("recomputed", v.recomputed));
}

void describe(auto& c, Like<FinishEvent> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation),
           Enumerated{"reason", v.reason, FinishReason::handed_off}, field("prompt_tokens", v.prompt_tokens),
           field("cached_tokens", v.cached_tokens), field("output_tokens", v.output_tokens),
           field("queue_ms", v.queue_ms), field("prefill_ms", v.prefill_ms), field("decode_ms", v.decode_ms),
           field("handoff", v.handoff), Limited{"embedding", v.embedding, kMaxItems});
}

void describe(auto& c, Like<SubmitMessage> auto& v) { c.record(field("request", v.request)); }

template <class T>
concept OnlyKeyed = Like<T, CancelMessage> || Like<T, ReceivedMessage> || Like<T, AbortMessage>;
void describe(auto& c, OnlyKeyed auto& v) {
  c.record(field("key", v.key), field("generation", v.generation));
}

template <class T>
concept KeyedError = Like<T, FailMessage> || Like<T, RefusedMessage>;
void describe(auto& c, KeyedError auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), field("error", v.error));
}

void describe(auto& c, Like<TokensMessage> auto& v) { c.record(Limited{"events", v.events, kMaxItems}); }
void describe(auto& c, Like<FinishMessage> auto& v) { c.record(field("event", v.event)); }

void describe(auto& c, Like<ReserveMessage> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), TokenList{"tokens", v.tokens},
           field("block_salt", v.block_salt), field("ttl_ms", v.ttl_ms));
}

void describe(auto& c, Like<ReservedMessage> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), field("transfer", v.transfer),
           field("blocks_held", v.blocks_held));
}

void describe(auto& c, Like<ResendMessage> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), field("index", v.index));
}

void describe(auto& c, Like<BlockSetDigest> auto& v) {
  c.record(field("count", v.count), field("sum", v.sum));
}

void describe(auto& c, Like<BlockEventsMessage> auto& v) {
  c.record(field("sequence", v.sequence), field("snapshot", v.snapshot),
           Limited{"stored", v.stored, kMaxBlockHashes}, Limited{"removed", v.removed, kMaxBlockHashes},
           field("digest", v.digest));
}

void describe(auto& c, Like<SnapshotRequestMessage> auto&) { c.record(); }

void describe(auto& c, Like<PerfProfile> auto& v) {
  c.record(field("step", v.step), field("sequence", v.sequence), field("weights", v.weights),
           field("token", v.token), field("logits", v.logits), field("experts", v.experts),
           field("expert_decay", v.expert_decay), field("expert_token", v.expert_token),
           field("pair", v.pair), field("kv_token", v.kv_token), field("window", v.window),
           field("window_share", v.window_share), field("sparse", v.sparse), field("serial", v.serial),
           field("exchange_token", v.exchange_token), field("link_token", v.link_token),
           field("link_latency", v.link_latency), field("measured", v.measured));
}

void describe(auto& c, Like<NodeFigures> auto& v) {
  c.record(field("prefix_queried_tokens", v.prefix_queried_tokens),
           field("prefix_hit_tokens", v.prefix_hit_tokens), field("blocks_sent", v.blocks_sent),
           field("blocks_received", v.blocks_received), field("bytes_sent", v.bytes_sent),
           field("bytes_received", v.bytes_received), field("transfers_in_flight", v.transfers_in_flight),
           field("transfers_failed", v.transfers_failed), field("accepted", v.accepted),
           field("ttft_p50", v.ttft_p50), field("ttft_p99", v.ttft_p99), field("itl_p50", v.itl_p50),
           field("itl_p99", v.itl_p99));
}

void describe(auto& c, Like<StatusMessage> auto& v) {
  c.record(Enumerated{"role", v.role, Role::decode}, field("ready", v.ready), field("draining", v.draining),
           field("running", v.running), field("waiting", v.waiting),
           field("waiting_prefill_tokens", v.waiting_prefill_tokens), field("blocks_total", v.blocks_total),
           field("blocks_in_use", v.blocks_in_use), field("kv_tokens", v.kv_tokens),
           field("max_batch_tokens", v.max_batch_tokens), field("prefill_tokens", v.prefill_tokens),
           field("decode_tokens", v.decode_tokens), field("auto_roles", v.auto_roles),
           field("profile", v.profile), field("figures", v.figures));
}

void describe(auto& c, Like<MoveMessage> auto& v) {
  c.record(field("key", v.key), field("generation", v.generation), field("decode_node", v.decode_node));
}

void describe(auto& c, Like<SetRoleMessage> auto& v) { c.record(Enumerated{"role", v.role, Role::decode}); }

namespace {

constexpr std::array<const char*, std::variant_size_v<Message>> kMessageNames = {
    "submit",           "cancel",  "tokens", "finish",   "fail",  "reserve",
    "reserved",         "refused", "resend", "received", "abort", "block_events",
    "snapshot_request", "status",  "move",   "set_role"};

template <std::size_t N>
Message decode_alternative(Decoder& decoder) {
  std::variant_alternative_t<N, Message> value;
  decoder.named(field(kMessageNames[N], value));
  return value;
}

template <std::size_t... N>
Message decode_numbered(Decoder& decoder, std::size_t number, std::index_sequence<N...>) {
  using Decode = Message (*)(Decoder&);
  constexpr std::array<Decode, sizeof...(N)> table = {&decode_alternative<N>...};
  return table[number](decoder);
}

}  // namespace

Result<void> peer::append_message(std::vector<std::byte>& out, const Message& message, TimePoint now) {
  Encoder encoder(out, now);
  encoder.writer().write_array(2);
  encoder.writer().write_unsigned(message.index());
  std::visit([&](const auto& value) { encoder.named(field(kMessageNames[message.index()], value)); },
             message);
  if (encoder.failed()) return encoder.take_error();
  return {};
}

std::vector<std::byte> encode_message(const Message& message, TimePoint now) {
  std::vector<std::byte> out;
  // An over-limit message is encoded all the same: the receiver refuses it by the same rule.
  (void)peer::append_message(out, message, now);
  return out;
}

Result<Message> decode_message(std::span<const std::byte> bytes, TimePoint now) {
  Decoder decoder(bytes, now);
  std::size_t items = 0;
  std::uint64_t number = 0;
  if (!decoder.reader().read_array(items) || items != 2 || !decoder.reader().read_unsigned(number)) {
    return make_error(ErrorCode::corrupt, "message: expected [number, record]", "message");
  }
  if (number >= kMessageNames.size()) {
    return make_error(ErrorCode::corrupt, "message: unknown number " + std::to_string(number), "message");
  }
  Message message = decode_numbered(decoder, static_cast<std::size_t>(number),
                                    std::make_index_sequence<std::variant_size_v<Message>>());
  if (decoder.failed()) return decoder.take_error();
  if (decoder.reader().remaining() > 0) {
    return make_error(ErrorCode::corrupt, "message: bytes after its end", "message");
  }
  return message;
}

}  // namespace baton
