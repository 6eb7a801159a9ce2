// The contract of KvTransport where blocks lie in memory that the CPU cannot touch. Here such memory is a
// shadow beside the blocks' own bytes, which nothing but the shadow's owner may read or write.
#include <algorithm>
#include <atomic>
#include <map>

#include "contract.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;

namespace {

std::vector<Hash128> hashes_of(std::span<const std::byte> bytes, std::size_t piece_bytes) {
  std::vector<Hash128> pieces;
  for (std::size_t at = 0; at < bytes.size(); at += piece_bytes)
    pieces.push_back(hash_bytes(bytes.subspan(at, std::min(piece_bytes, bytes.size() - at))));
  return pieces;
}

class ShadowMemory final : public BlockMemory {
 public:
  explicit ShadowMemory(Blocks& blocks) : pool_(blocks.pool()), shadow_(pool_.begin(), pool_.end()) {
    blocks.fill(std::byte{0xEE});
  }
  Result<void> read(std::span<const std::byte> block, std::span<std::byte> host) override {
    ++reads;
    if (fail_reads-- > 0) return make_error(ErrorCode::unavailable, "the device is gone");
    std::ranges::copy(shadow_of(block), host.begin());
    if (damage_reads-- > 0) host.back() ^= std::byte{1};
    return {};
  }
  Result<void> write(std::span<const std::byte> host, std::span<std::byte> block) override {
    ++writes;
    if (fail_writes-- > 0) return make_error(ErrorCode::unavailable, "the device is gone");
    std::ranges::copy(host, shadow_of(block).begin());
    if (damage_writes-- > 0) shadow_of(block).front() ^= std::byte{1};
    return {};
  }
  bool hashes() const override { return hashing; }
  Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> block,
                                           std::size_t piece_bytes) override {
    ++hashed;
    if (fail_hashes-- > 0) return make_error(ErrorCode::unavailable, "the device is gone");
    return hashes_of(shadow_of(block), piece_bytes);
  }
  bool untouched() const {
    return std::ranges::all_of(pool_, [](std::byte byte) { return byte == std::byte{0xEE}; });
  }
  std::span<std::byte> shadow_of(std::span<const std::byte> block) {
    return std::span(shadow_).subspan(static_cast<std::size_t>(block.data() - pool_.data()), block.size());
  }

  std::atomic<bool> hashing{false};
  std::atomic<int> reads{0}, writes{0}, hashed{0};
  std::atomic<int> fail_reads{0}, fail_writes{0}, fail_hashes{0}, damage_reads{0}, damage_writes{0};

 private:
  std::span<std::byte> pool_;
  std::vector<std::byte> shadow_;
};

struct Shadowed {
  Shadowed(std::size_t bytes, bool digests, std::size_t part, bool sender = true, bool receiver = true,
           std::size_t piece = 1000)
      : from(6, bytes, 1), to(6, bytes, 2), from_memory(from), to_memory(to) {
    TransportOptions a, b;
    a.digests = b.digests = digests;
    a.piece_bytes = b.piece_bytes = piece;
    a.max_message_bytes = part;
    if (sender) a.memory = &from_memory;
    if (receiver) b.memory = &to_memory;
    pair.emplace(a, b);
  }
  std::span<std::byte> sent(std::size_t i, bool in_shadow = true) {
    return in_shadow ? from_memory.shadow_of(from.bytes(i)) : from.bytes(i);
  }
  std::span<std::byte> landed(std::size_t i, bool in_shadow = true) {
    return in_shadow ? to_memory.shadow_of(to.bytes(i)) : to.bytes(i);
  }

  // All six, until they have landed and their transfer is closed.
  void send_all() {
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    REQUIRE(pair->b->expect(id, to.expected(from), sink));
    Dones dones;
    for (std::size_t i = 0; i < 6; ++i) pair->a->send("b", from.outgoing(id, i), dones.next());
    REQUIRE(sink->wait_landed(6));
    REQUIRE(dones.wait_all());
    CHECK(dones.succeeded() == 6);
    pair->b->close(id);
    REQUIRE(sink->wait_closed());
  }

  Blocks from, to;
  ShadowMemory from_memory, to_memory;
  std::optional<Pair> pair;
};

}  // namespace

TEST_CASE("blocks go from device memory to device memory, in parts, with digests and without") {
  const std::size_t bytes = GENERATE(std::size_t{100}, std::size_t{70001});
  const std::size_t part = GENERATE(std::size_t{4} << 20, std::size_t{9000});
  const bool digests = GENERATE(true, false);
  CAPTURE(bytes, part, digests);
  Shadowed world(bytes, digests, part);
  CHECK(!world.pair->a->content_digest(world.from.bytes(0)));
  world.send_all();
  for (std::size_t i = 0; i < 6; ++i) CHECK(std::ranges::equal(world.sent(i), world.landed(i)));
  CHECK(world.from_memory.untouched());
  CHECK(world.to_memory.untouched());
  CHECK(world.to_memory.writes == 6);
}

TEST_CASE("device memory at one end only") {
  const bool sender = GENERATE(true, false);
  Shadowed world(5000, true, 4 << 20, sender, !sender);
  world.send_all();
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(std::ranges::equal(world.sent(i, sender), world.landed(i, !sender)));
}

TEST_CASE("a block that is corrupt never gets into device memory") {
  Shadowed world(5000, true, 4 << 20);
  const std::vector<std::byte> before(world.landed(0).begin(), world.landed(0).end());
  OutgoingBlock wrong = world.from.outgoing(new_transfer(), 0);
  wrong.content = Hash128{1, 2};
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(world.pair->b->expect(wrong.transfer, world.to.expected(world.from), sink));
  Dones dones;
  world.pair->a->send("b", wrong, dones.next());
  REQUIRE(sink->wait_failed(1));
  CHECK(sink->last_error() == ErrorCode::corrupt);
  CHECK(std::ranges::equal(before, world.landed(0)));
  CHECK(world.to_memory.writes == 0);
  world.pair->a->send("b", world.from.outgoing(wrong.transfer, 0), dones.next());
  REQUIRE(sink->wait_landed(1));
  CHECK(std::ranges::equal(world.sent(0), world.landed(0)));
  REQUIRE(dones.wait_all());
  world.pair->b->close(wrong.transfer);
  REQUIRE(sink->wait_closed());
}

TEST_CASE("memory that hashes its blocks: the digest is of what lies there, at either end or both") {
  const bool sender = GENERATE(true, false), receiver = GENERATE(true, false);
  const std::size_t piece = GENERATE(std::size_t{0}, std::size_t{1000});
  CAPTURE(sender, receiver, piece);
  Shadowed world(5000, true, 2000, true, true, piece);
  world.from_memory.hashing = sender;
  world.to_memory.hashing = receiver;
  world.send_all();
  for (std::size_t i = 0; i < 6; ++i) CHECK(std::ranges::equal(world.sent(i), world.landed(i)));
  CHECK(world.from_memory.hashed == (sender ? 6 : 0));
  CHECK(world.to_memory.hashed == (receiver ? 6 : 0));
}

TEST_CASE("damage on the way through host memory is found where memory hashes its blocks") {
  Shadowed world(5000, true, 4 << 20);
  world.from_memory.hashing = world.to_memory.hashing = true;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(world.pair->b->expect(id, world.to.expected(world.from), sink));
  Dones dones;
  const auto send = [&] {
    world.pair->a->send("b", world.from.outgoing(id, 0), dones.next());
    REQUIRE(dones.wait_all());
  };
  world.from_memory.damage_reads = 1;
  send();
  REQUIRE(sink->wait_failed(1));
  CHECK(sink->last_error() == ErrorCode::corrupt);
  world.to_memory.damage_writes = 1;
  send();
  REQUIRE(sink->wait_failed(2));
  CHECK(sink->last_error() == ErrorCode::corrupt);
  CHECK(world.pair->b->counters().corrupt == 2);
  world.to_memory.fail_hashes = 1;
  send();
  REQUIRE(sink->wait_failed(3));
  CHECK(sink->last_error() == ErrorCode::unavailable);
  world.from_memory.fail_hashes = 1;
  send();
  CHECK(dones.last_error() == ErrorCode::unavailable);
  send();
  REQUIRE(sink->wait_landed(1));
  CHECK(std::ranges::equal(world.sent(0), world.landed(0)));
  world.pair->b->close(id);
  REQUIRE(sink->wait_closed());
}

// Memory that the network reaches by itself, as a GPU's by GPUDirect; here it is the host's.
class ReachableMemory final : public BlockMemory {
 public:
  Result<void> read(std::span<const std::byte> block, std::span<std::byte> host) override {
    ++reads;
    std::ranges::copy(block, host.begin());
    return {};
  }
  Result<void> write(std::span<const std::byte> host, std::span<std::byte> block) override {
    std::ranges::copy(host, block.begin());
    return {};
  }
  bool hashes() const override { return true; }
  Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> block,
                                           std::size_t piece_bytes) override {
    ++hashed;
    return hashes_of(block, piece_bytes);
  }
  std::atomic<int> reads{0}, hashed{0};
};

TEST_CASE("memory that the network reaches: no copies, and what arrives damaged is found there") {
  const bool receiver = GENERATE(true, false), digests = GENERATE(true, false);
  const std::size_t part = GENERATE(std::size_t{4} << 20, std::size_t{9000});
  CAPTURE(receiver, digests, part);
  Blocks from(6, 30'000, 1), to(6, 30'000, 2);
  ReachableMemory from_memory, to_memory;
  std::atomic<int> damage{0};
  TransportOptions a, b;
  a.piece_bytes = b.piece_bytes = 1000;
  a.digests = b.digests = digests;
  a.max_message_bytes = part;
  a.memory = &from_memory;
  a.direct = true;
  a.corrupt_for_test = [&](const OutgoingBlock&, std::span<std::byte> copy) {
    if (damage-- > 0) copy.front() ^= std::byte{1};
  };
  if (!receiver) a.corrupt_for_test = nullptr;
  if (receiver) {
    b.memory = &to_memory;
    b.direct = true;
  }
  Pair pair(a, b);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  if (receiver && digests) {
    damage = 1;
    pair.a->send("b", from.outgoing(id, 3), dones.next());
    REQUIRE(sink->wait_failed(1));
    CHECK(sink->last_error() == ErrorCode::corrupt);
  }
  for (std::size_t i = 0; i < 6; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(6));
  REQUIRE(dones.wait_all());
  CHECK(from.equals(to));
  if (!receiver) CHECK(from_memory.reads == 0);
  CHECK((from_memory.hashed > 0) == digests);
  CHECK((to_memory.hashed > 0) == (digests && receiver));
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
}

TEST_CASE("a device that fails fails the block, which may be sent again") {
  Shadowed world(5000, true, 4 << 20);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(world.pair->b->expect(id, world.to.expected(world.from), sink));
  Dones dones;
  world.from_memory.fail_reads = 1;
  world.pair->a->send("b", world.from.outgoing(id, 0), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 0);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  world.to_memory.fail_writes = 1;
  world.pair->a->send("b", world.from.outgoing(id, 0), dones.next());
  REQUIRE(sink->wait_failed(1));
  CHECK(sink->last_error() == ErrorCode::unavailable);
  world.pair->a->send("b", world.from.outgoing(id, 0), dones.next());
  REQUIRE(sink->wait_landed(1));
  CHECK(std::ranges::equal(world.sent(0), world.landed(0)));
  REQUIRE(dones.wait_all());
  world.pair->b->close(id);
  REQUIRE(sink->wait_closed());
}
