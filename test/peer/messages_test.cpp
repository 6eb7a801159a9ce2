// The wire form of every message: round trips, what other CBOR readers make of it, and what malformed bytes
// do.
#include "baton/peer/messages.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "peer/message_codec.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

using Bytes = std::vector<std::byte>;
using nlohmann::json;

const TimePoint kNow{std::chrono::hours(50)};

// Draws messages of every kind, with extremes more often than chance would.
struct Draw {
  std::mt19937_64 random;

  std::uint64_t below(std::uint64_t n) { return random() % n; }
  std::uint32_t u32() {
    return below(4) == 0 ? 0xffffffffU : static_cast<std::uint32_t>(random() >> below(64));
  }
  std::uint64_t u64() { return below(4) == 0 ? ~0ULL : random() >> below(64); }
  std::int32_t i32() {
    return below(4) == 0 ? std::numeric_limits<std::int32_t>::min() : static_cast<std::int32_t>(u32());
  }
  float real() { return static_cast<float>(static_cast<double>(random()) / 1e18 - 9.0); }
  Hash128 hash() { return {random(), random()}; }
  RequestKey key() { return {hash(), u32()}; }
  std::string text() {
    std::string out;
    for (std::uint64_t i = below(40); i > 0; --i) out += static_cast<char>(below(256));
    return out;
  }
  std::vector<TokenId> tokens() {
    std::vector<TokenId> out;
    for (std::uint64_t i = below(below(8) == 0 ? 3000 : 20); i > 0; --i) {
      out.push_back(static_cast<TokenId>(random() >> (33 + below(31))));
    }
    return out;
  }
  std::vector<Hash128> hashes() {
    std::vector<Hash128> out(below(30));
    for (Hash128& h : out) h = hash();
    return out;
  }
  Error error() { return {static_cast<ErrorCode>(below(13)), text(), text()}; }

  Request request() {
    Request r;
    r.id = hash();
    r.choice = u32();
    r.generation = u32();
    r.prompt = tokens();
    r.output = tokens();
    r.sampling = {real(), real(), real(), i32(), real(), real(), real(), {}, u64(), i32()};
    for (std::uint64_t i = below(5); i > 0; --i) r.sampling.logit_bias.emplace_back(i32(), real());
    r.stop = {i32(), i32(), below(2) == 0, tokens(), tokens()};
    r.embed = below(2) == 0;
    r.adapter = hash();
    r.cache_salt = text();
    r.tenant = text();
    r.grammar = text();
    r.priority = i32();
    r.arrival = kNow - Duration(below(1'000'000'000'000));
    if (below(3) != 0)
      r.deadline = kNow + Duration(static_cast<std::int64_t>(below(2'000'000'000)) - 1'000'000'000);
    r.phase = static_cast<Phase>(below(3));
    r.prefill_node = text();
    r.decode_node = text();
    return r;
  }
  TokenEvent token_event() {
    TokenEvent event{key(), u32(), u32(), {i32(), real(), {}}};
    for (std::uint64_t i = below(4); i > 0; --i) event.token.top.push_back({i32(), real()});
    return event;
  }
  FinishEvent finish() {
    return {key(),
            u32(),
            static_cast<FinishReason>(below(3)),
            u32(),
            u32(),
            u32(),
            real(),
            real(),
            real(),
            {text(), text(), u32(), u32(), u64(), text(), real(), below(2) == 0},
            reals()};
  }
  std::vector<float> reals() {
    std::vector<float> values(below(5));
    for (float& value : values) value = real();
    return values;
  }

  Message message(std::size_t kind) {
    switch (kind) {
      case 0:
        return SubmitMessage{request()};
      case 1:
        return CancelMessage{key(), u32()};
      case 2: {
        TokensMessage m;
        for (std::uint64_t i = below(6); i > 0; --i) m.events.push_back(token_event());
        return m;
      }
      case 3:
        return FinishMessage{finish()};
      case 4:
        return FailMessage{key(), u32(), error()};
      case 5:
        return ReserveMessage{key(), u32(), tokens(), text(), u32()};
      case 6:
        return ReservedMessage{key(), u32(), hash(), u32()};
      case 7:
        return RefusedMessage{key(), u32(), error()};
      case 8:
        return ResendMessage{key(), u32(), u32()};
      case 9:
        return ReceivedMessage{key(), u32()};
      case 10:
        return AbortMessage{key(), u32()};
      case 11:
        return BlockEventsMessage{u64(), below(2) == 0, hashes(), hashes(), {u64(), hash()}};
      case 12:
        return SnapshotRequestMessage{};
      case 14:
        return MoveMessage{key(), u32(), text()};
      case 15:
        return SetRoleMessage{static_cast<Role>(below(3))};
      default:
        return StatusMessage{
            static_cast<Role>(below(3)),
            below(2) == 0,
            below(2) == 0,
            u32(),
            u32(),
            u64(),
            u32(),
            u32(),
            u64(),
            u32(),
            u64(),
            u64(),
            below(2) == 0,
            PerfProfile{real(), real(), real(), real(), real(), real(), real(), real(), real(), real(),
                        real(), real(), real(), real(), real(), real(), real(), below(2) == 0},
            {u64(), u64(), u64(), u64(), u64(), u64(), u64(), u64(), u64(), real(), real(), real(), real()}};
    }
  }
};

constexpr std::size_t kKinds = std::variant_size_v<Message>;

// Messages have no operator==; what tells them apart is their fields, which the second encoding shows. That
// encoding and decoding agree on the fields' meaning is checked by name in the tests below.
Bytes again(const Bytes& bytes) {
  const auto decoded = decode_message(bytes, kNow);
  REQUIRE(decoded);
  return encode_message(*decoded, kNow);
}

std::string why(const Result<Message>& result) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::corrupt);
  return result.error().field;
}

json as_json(const Bytes& bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return json::from_cbor(data, data + bytes.size(), true, false);
}
Bytes as_bytes(const json& value) {
  const std::vector<std::uint8_t> cbor = json::to_cbor(value);
  const auto* data = reinterpret_cast<const std::byte*>(cbor.data());
  return {data, data + cbor.size()};
}
json sample(std::size_t kind) {
  Draw draw{std::mt19937_64(7)};
  return as_json(encode_message(draw.message(kind), kNow));
}

}  // namespace

TEST_CASE("every message survives the wire") {
  Draw draw{std::mt19937_64(1)};
  for (int round = 0; round < 300; ++round) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const Message message = draw.message(kind);
      REQUIRE(message.index() == kind);
      const Bytes bytes = encode_message(message, kNow);
      const auto decoded = decode_message(bytes, kNow);
      INFO("kind " << kind << " round " << round << (decoded ? "" : decoded.error().message));
      REQUIRE(decoded);
      REQUIRE(decoded->index() == kind);
      REQUIRE(encode_message(*decoded, kNow) == bytes);
    }
  }
}

TEST_CASE("a request's fields arrive as they were") {
  Draw draw{std::mt19937_64(2)};
  const Request sent = draw.request();
  const auto decoded = decode_message(encode_message(SubmitMessage{sent}, kNow), kNow);
  REQUIRE(decoded);
  const Request& got = std::get<SubmitMessage>(*decoded).request;
  CHECK(got.id == sent.id);
  CHECK(got.choice == sent.choice);
  CHECK(got.generation == sent.generation);
  CHECK(got.prompt == sent.prompt);
  CHECK(got.output == sent.output);
  CHECK(got.sampling.temperature == sent.sampling.temperature);
  CHECK(got.sampling.top_p == sent.sampling.top_p);
  CHECK(got.sampling.min_p == sent.sampling.min_p);
  CHECK(got.sampling.top_k == sent.sampling.top_k);
  CHECK(got.sampling.presence_penalty == sent.sampling.presence_penalty);
  CHECK(got.sampling.frequency_penalty == sent.sampling.frequency_penalty);
  CHECK(got.sampling.repetition_penalty == sent.sampling.repetition_penalty);
  CHECK(got.sampling.logit_bias == sent.sampling.logit_bias);
  CHECK(got.sampling.seed == sent.sampling.seed);
  CHECK(got.sampling.logprobs == sent.sampling.logprobs);
  CHECK(got.stop.max_tokens == sent.stop.max_tokens);
  CHECK(got.stop.min_tokens == sent.stop.min_tokens);
  CHECK(got.stop.ignore_eos == sent.stop.ignore_eos);
  CHECK(got.stop.eos_token_ids == sent.stop.eos_token_ids);
  CHECK(got.stop.stop_token_ids == sent.stop.stop_token_ids);
  CHECK(got.embed == sent.embed);
  CHECK(got.adapter == sent.adapter);
  CHECK(got.cache_salt == sent.cache_salt);
  CHECK(got.tenant == sent.tenant);
  CHECK(got.grammar == sent.grammar);
  CHECK(got.priority == sent.priority);
  CHECK(got.arrival == sent.arrival);
  CHECK(got.deadline == sent.deadline);
  CHECK(got.phase == sent.phase);
  CHECK(got.prefill_node == sent.prefill_node);
  CHECK(got.decode_node == sent.decode_node);
}

TEST_CASE("deadlines travel as the time that is left") {
  using namespace std::chrono_literals;
  Request request;
  request.arrival = kNow - 2s;
  request.deadline = kNow + 30s;
  const TimePoint there{std::chrono::hours(1)};  // another machine's clock
  auto decoded = decode_message(encode_message(SubmitMessage{request}, kNow), there);
  REQUIRE(decoded);
  CHECK(std::get<SubmitMessage>(*decoded).request.deadline == there + 30s);
  CHECK(std::get<SubmitMessage>(*decoded).request.arrival == there - 2s);

  request.deadline = TimePoint::max();
  decoded = decode_message(encode_message(SubmitMessage{request}, kNow), there);
  REQUIRE(decoded);
  CHECK(std::get<SubmitMessage>(*decoded).request.deadline == TimePoint::max());

  request.deadline = TimePoint::max() - 1ns;  // absurdly far: clamped, never overflowing
  decoded = decode_message(encode_message(SubmitMessage{request}, kNow), there);
  REQUIRE(decoded);
  CHECK(std::get<SubmitMessage>(*decoded).request.deadline > there + std::chrono::hours(24 * 3000));
}

TEST_CASE("the wire form is pinned") {
  // [2, [[[[h'..16', 1], 2, 3, [5, 0.5, []]]]]], written by hand from RFC 8949.
  TokensMessage message;
  message.events.push_back({{{0x0102030405060708ULL, 0x090a0b0c0d0e0f10ULL}, 1}, 2, 3, {5, 0.5F, {}}});
  std::string hex;
  for (const std::byte b : encode_message(message, kNow)) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(b));
    hex += digits;
  }
  CHECK(hex ==
        "82"
        "02"
        "81"
        "81"
        "84"
        "82"
        "500102030405060708090a0b0c0d0e0f10"
        "01"
        "02"
        "03"
        "83"
        "05"
        "fa3f000000"
        "80");
}

TEST_CASE("another CBOR library reads what we write, and we read what it writes") {
  Draw draw{std::mt19937_64(3)};
  for (int round = 0; round < 20; ++round) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      Message message = draw.message(kind);
      const Bytes bytes = encode_message(message, kNow);
      const json tree = as_json(bytes);
      REQUIRE_FALSE(tree.is_discarded());
      REQUIRE(tree.at(0) == kind);
      REQUIRE(again(as_bytes(tree)) == bytes);
    }
  }
}

TEST_CASE("a malformed message is corrupt and names the field") {
  const auto field_after = [](std::size_t kind, const char* pointer, const json& value) {
    json tree = sample(kind);
    tree[json::json_pointer(pointer)] = value;
    return why(decode_message(as_bytes(tree), kNow));
  };
  CHECK(field_after(0, "/1/0/3", "text") == "submit.request.prompt");
  CHECK(field_after(0, "/1/0/3", json::array({1, -1})) == "submit.request.prompt");
  CHECK(field_after(0, "/1/0/3", json::array({0x80000000U})) == "submit.request.prompt");
  CHECK(field_after(0, "/1/0/5/0", "hot") == "submit.request.sampling.temperature");
  CHECK(field_after(0, "/1/0/5/1", std::nan("")) == "submit.request.sampling.top_p");
  CHECK(field_after(0, "/1/0/6", json::array({1})) == "submit.request.stop");
  CHECK(field_after(0, "/1/0/13", std::numeric_limits<std::int64_t>::max()) == "submit.request.deadline");
  CHECK(field_after(0, "/1/0/14", 3) == "submit.request.phase");
  CHECK(field_after(1, "/1/0/0", json::binary({1, 2, 3})) == "cancel.key.id");
  CHECK(field_after(1, "/1/1", 0x100000000ULL) == "cancel.generation");
  CHECK(field_after(2, "/1/0", json::array({7})) == "tokens.events[0]");
  CHECK(field_after(4, "/1/2/0", 13) == "fail.error.code");
  CHECK(field_after(4, "/1/2/1", std::string(5000, 'x')) == "fail.error.message");
  CHECK(field_after(11, "/1/2", json::array({json::binary({1})})) == "block_events.stored[0]");
  CHECK(field_after(11, "/1/4", 7) == "block_events.digest");
  CHECK(field_after(11, "/1/4/1", json::binary({1})) == "block_events.digest.sum");
  CHECK(field_after(13, "/1/1", 1) == "status.ready");
  CHECK(field_after(13, "/0", kKinds) == "message");
  CHECK(why(decode_message({}, kNow)) == "message");

  Bytes longer = encode_message(SnapshotRequestMessage{}, kNow);
  longer.push_back(std::byte{0});
  CHECK(why(decode_message(longer, kNow)) == "message");
}

TEST_CASE("no prefix and no flipped byte of a message does harm") {
  Draw draw{std::mt19937_64(4)};
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    const Bytes bytes = encode_message(draw.message(kind), kNow);
    for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 500) {
      REQUIRE_FALSE(decode_message(std::span(bytes).first(size), kNow));
    }
    for (int round = 0; round < 300; ++round) {
      Bytes damaged = bytes;
      damaged[draw.below(damaged.size())] = static_cast<std::byte>(draw.below(256));
      const auto decoded = decode_message(damaged, kNow);  // either is fine
      if (!decoded) CHECK(decoded.error().code == ErrorCode::corrupt);
    }
  }
}

TEST_CASE("claimed sizes and nesting cost nothing") {
  CHECK_FALSE(decode_message(Bytes(1 << 20, std::byte{0x81}), kNow));  // a megabyte of nested arrays
  for (const int major : {0x40, 0x60, 0x80}) {
    Bytes huge = {std::byte{0x82}, std::byte{0x0b}, static_cast<std::byte>(major | 27)};
    huge.resize(11, std::byte{0xff});
    CHECK_FALSE(decode_message(huge, kNow));
  }
}

TEST_CASE("what a receiver would refuse is refused at the sender, by name") {
  Request request;
  request.sampling.top_p = std::numeric_limits<float>::quiet_NaN();
  Bytes out;
  auto result = peer::append_message(out, SubmitMessage{request}, kNow);
  REQUIRE_FALSE(result);
  CHECK(result.error().field == "submit.request.sampling.top_p");

  request.sampling.top_p = 1.0F;
  request.prompt = {1, -5};
  result = peer::append_message(out, SubmitMessage{request}, kNow);
  REQUIRE_FALSE(result);
  CHECK(result.error().field == "submit.request.prompt");

  request.prompt.clear();
  request.cache_salt.assign((64 << 10) + 1, 's');
  result = peer::append_message(out, SubmitMessage{request}, kNow);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::too_large);
  CHECK(result.error().field == "submit.request.cache_salt");

  request.cache_salt.clear();
  request.grammar = std::string(256 << 10, 'g');
  out.clear();
  REQUIRE(peer::append_message(out, SubmitMessage{request}, kNow));
  const auto decoded = decode_message(out, kNow);
  REQUIRE(decoded);
  CHECK(std::get<SubmitMessage>(*decoded).request.grammar == request.grammar);
  request.grammar = request.grammar.str() + 'g';
  result = peer::append_message(out, SubmitMessage{request}, kNow);
  REQUIRE_FALSE(result);
  CHECK(result.error().field == "submit.request.grammar");
  CHECK(why(decode_message(encode_message(SubmitMessage{request}, kNow), kNow)) == "submit.request.grammar");
}

TEST_CASE("a long error text is cut between characters, not refused") {
  std::string text(4095, 'x');
  text += "\xc3\xa9 and more";  // the limit falls inside the é
  const auto decoded =
      decode_message(encode_message(FailMessage{{}, 0, {ErrorCode::io, text, ""}}, kNow), kNow);
  REQUIRE(decoded);
  CHECK(std::get<FailMessage>(*decoded).error.message == std::string(4095, 'x'));
}
