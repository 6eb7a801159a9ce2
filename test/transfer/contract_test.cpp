// The contract of KvTransport, one promise a test. Compiled once for every implementation.
#include "contract.hpp"

#include <algorithm>

#include "support/catch.hpp"

namespace baton::test {

Pair::Pair(const TransportOptions& for_a, const TransportOptions& for_b) : world(make_world()) {
  a = world->make(for_a);
  b = world->make(for_b);
  REQUIRE(a->connect("b", b->address()));
  REQUIRE(b->connect("a", a->address()));
}

}  // namespace baton::test

using namespace baton;
using namespace baton::test;

namespace {

TransportOptions with(std::size_t max_message_bytes, bool digests = true) {
  TransportOptions options;
  options.max_message_bytes = max_message_bytes;
  options.digests = digests;
  options.piece_bytes = 1000;
  return options;
}

// Sends one more, correct block from a to b and waits for it: whatever a sent before has been dealt with.
void round_trip(Pair& pair) {
  Blocks from(1, 4096, 91), to(1, 4096, 92);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  pair.a->send("b", from.outgoing(id, 0), dones.next());
  REQUIRE(sink->wait_landed(1));
  REQUIRE(dones.wait_all());
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
}

}  // namespace

TEST_CASE("blocks land where the receiver said, verified") {
  const std::size_t bytes = GENERATE(std::size_t{1}, std::size_t{100}, std::size_t{4096}, std::size_t{70001},
                                     std::size_t{512 << 10});
  const bool digests = GENERATE(true, false);
  CAPTURE(bytes, digests);
  Pair pair(with(4 << 20, digests));
  Blocks from(5, bytes, 1), to(5, bytes, 2);
  Blocks untouched = to;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (const std::size_t i : {3u, 0u, 4u, 1u, 2u}) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(5));
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 5);
  CHECK(to.equals(from));
  for (std::size_t i = 0; i < 5; ++i) {
    const auto gap = (2 * i + 1) * bytes;  // the places between the blocks
    CHECK(std::ranges::equal(to.pool().subspan(gap, bytes), untouched.pool().subspan(gap, bytes)));
    CHECK(sink->landed(static_cast<std::uint32_t>(i)) == 1);
  }
  CHECK(sink->failures() == 0);
  CHECK(sink->closed() == 0);
  pair.b->close(id);
  REQUIRE(sink->wait_closed());

  const TransportCounters sent = pair.a->counters(), received = pair.b->counters();
  CHECK(sent.blocks_sent == 5);
  CHECK(sent.bytes_sent == 5 * bytes);
  CHECK(sent.in_flight == 0);
  CHECK(received.blocks_received == 5);
  CHECK(received.bytes_received == 5 * bytes);
  CHECK(received.in_flight == 0);
  CHECK(received.dropped == 0);
  CHECK(received.corrupt == 0);
}

TEST_CASE("both directions at once, and a transport to itself is none of our business") {
  Pair pair;
  Blocks a1(8, 30000, 3), b1(8, 30000, 4), a2(8, 30000, 5), b2(8, 30000, 6);
  const TransferId there = new_transfer(), back = new_transfer();
  auto at_b = std::make_shared<RecordingSink>(), at_a = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(there, b1.expected(a1), at_b));
  REQUIRE(pair.a->expect(back, a2.expected(b2), at_a));
  Dones dones;
  for (std::size_t i = 0; i < 8; ++i) {
    pair.a->send("b", a1.outgoing(there, i), dones.next());
    pair.b->send("a", b2.outgoing(back, i), dones.next());
  }
  REQUIRE(at_b->wait_landed(8));
  REQUIRE(at_a->wait_landed(8));
  REQUIRE(dones.wait_all());
  CHECK(b1.equals(a1));
  CHECK(a2.equals(b2));
}

TEST_CASE("a block larger than max_message_bytes travels in parts") {
  Pair pair(with(10000));
  Blocks from(3, 95001, 7), to(3, 95001, 8);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (std::size_t i = 0; i < 3; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(3));
  REQUIRE(dones.wait_all());
  CHECK(to.equals(from));
  CHECK(pair.b->counters().blocks_received == 3);
}

TEST_CASE("an unknown transfer id is dropped") {
  Pair pair;
  Blocks from(1, 20000, 9), to(1, 20000, 10);
  Blocks before = to;
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(new_transfer(), to.expected(from), sink));
  Dones dones;
  pair.a->send("b", from.outgoing(new_transfer(), 0), dones.next());
  REQUIRE(dones.wait_all());
  round_trip(pair);
  CHECK(pair.b->counters().dropped == 1);
  CHECK(sink->blocks_landed() == 0);
  CHECK(to.equals(before));
}

TEST_CASE("a transfer id that has been closed is dropped like one that never was") {
  Pair pair;
  Blocks from(2, 20000, 61), to(2, 20000, 62);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  pair.a->send("b", from.outgoing(id, 0), dones.next());
  REQUIRE(sink->wait_landed(1));
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
  to.fill(std::byte{0xEE});  // the memory is somebody else's now
  for (std::size_t i = 0; i < 2; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(dones.wait_all());
  round_trip(pair);
  CHECK(pair.b->counters().dropped == 2);
  CHECK(sink->blocks_landed() == 1);
  CHECK(sink->late() == 0);
  CHECK(to.all(std::byte{0xEE}));
}

TEST_CASE("a transfer id opens the places of its own transfer only") {
  Pair pair;
  Blocks mine(1, 20000, 63), theirs(2, 20000, 64), to_mine(1, 20000, 65), to_theirs(2, 20000, 66);
  Blocks before_mine = to_mine, before_theirs = to_theirs;
  const TransferId my_id = new_transfer(), their_id = new_transfer();
  auto my_sink = std::make_shared<RecordingSink>(), their_sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(my_id, to_mine.expected(mine), my_sink));
  REQUIRE(pair.b->expect(their_id, to_theirs.expected(theirs), their_sink));
  Dones dones;
  pair.a->send("b", theirs.outgoing(my_id, 0), dones.next());  // an index that mine has, with another hash
  pair.a->send("b", theirs.outgoing(my_id, 1), dones.next());  // an index that mine has not
  REQUIRE(dones.wait_all());
  REQUIRE(my_sink->wait_failed(1));
  round_trip(pair);
  CHECK(my_sink->last_error() == ErrorCode::corrupt);
  CHECK(pair.b->counters().dropped == 1);
  CHECK(my_sink->blocks_landed() == 0);
  CHECK(their_sink->blocks_landed() == 0);
  CHECK(their_sink->failures() == 0);
  CHECK(to_mine.equals(before_mine));
  CHECK(to_theirs.equals(before_theirs));
}

TEST_CASE("an index that nobody expects is dropped") {
  Pair pair;
  Blocks from(2, 20000, 11), to(1, 20000, 12);
  Blocks before = to;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  pair.a->send("b", from.outgoing(id, 1), dones.next());
  REQUIRE(dones.wait_all());
  round_trip(pair);
  CHECK(pair.b->counters().dropped == 1);
  CHECK(to.equals(before));
  CHECK(sink->failures() == 0);
}

TEST_CASE("another hash or another size is corrupt and touches nothing") {
  const bool digests = GENERATE(true, false);
  Pair pair(with(4 << 20, digests));
  Blocks from(2, 20000, 13), to(2, 20000, 14);
  Blocks before = to;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  OutgoingBlock wrong_hash = from.outgoing(id, 0);
  wrong_hash.hash.low ^= 1;
  OutgoingBlock wrong_size = from.outgoing(id, 1);
  wrong_size.bytes = wrong_size.bytes.first(19999);
  Dones dones;
  pair.a->send("b", wrong_hash, dones.next());
  pair.a->send("b", wrong_size, dones.next());
  REQUIRE(sink->wait_failed(2));
  CHECK(sink->failed(0) == 1);
  CHECK(sink->failed(1) == 1);
  CHECK(sink->last_error() == ErrorCode::corrupt);
  CHECK(pair.b->counters().corrupt == 2);
  CHECK(to.equals(before));
  for (std::size_t i = 0; i < 2; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(2));
  CHECK(to.equals(from));
  REQUIRE(dones.wait_all());
}

TEST_CASE("a block sent twice lands once") {
  Pair pair(with(GENERATE(std::size_t{4 << 20}, std::size_t{7000})));
  Blocks from(4, 40000, 15), to(4, 40000, 16);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (int copies = 0; copies < 3; ++copies)
    for (std::size_t i = 0; i < 4; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.each_once());
  REQUIRE(sink->wait_landed(4));
  round_trip(pair);
  for (std::uint32_t i = 0; i < 4; ++i) CHECK(sink->landed(i) == 1);
  CHECK(sink->failures() == 0);
  CHECK(pair.b->counters().dropped >= 8);
  CHECK(to.equals(from));
}

TEST_CASE("a corrupted block is noticed by its digest and may be sent again") {
  FaultPoints faults;
  REQUIRE(faults.configure("transfer.send=corrupt@2"));
  TransportOptions sending = with(9000);
  sending.faults = &faults;
  Pair pair(sending, with(9000));
  Blocks from(3, 50000, 17), to(3, 50000, 18);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (std::size_t i = 0; i < 3; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_failed(1));
  REQUIRE(sink->wait_landed(2));
  CHECK(sink->failed(1) == 1);
  CHECK(sink->last_error() == ErrorCode::corrupt);
  CHECK(pair.b->counters().corrupt == 1);
  pair.a->send("b", from.outgoing(id, 1), dones.next());
  REQUIRE(sink->wait_landed(3));
  CHECK(to.equals(from));
  REQUIRE(dones.wait_all());
}

TEST_CASE("a mutation after the digest is caught with digests, and goes through without") {
  const bool digests = GENERATE(true, false);
  TransportOptions options = with(4 << 20, digests);
  options.corrupt_for_test = [](const OutgoingBlock& block, std::span<std::byte> copy) {
    if (block.index == 1) std::ranges::fill(copy, std::byte{0});
  };
  Pair pair(options, with(4 << 20, digests));
  Blocks from(2, 30000, 19), to(2, 30000, 20);
  Blocks original = from;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (std::size_t i = 0; i < 2; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(from.equals(original));
  if (digests) {
    REQUIRE(sink->wait_failed(1));
    CHECK(sink->failed(1) == 1);
  } else {
    REQUIRE(sink->wait_landed(2));
    CHECK(std::ranges::all_of(to.bytes(1), [](std::byte b) { return b == std::byte{0}; }));
  }
  REQUIRE(sink->wait_landed(1));
  CHECK(std::ranges::equal(to.bytes(0), from.bytes(0)));
}

TEST_CASE("a digest computed when the block was finished counts, so that what changed since is caught") {
  Pair pair(with(4 << 20), with(4 << 20));
  Blocks from(2, 30000, 21), to(2, 30000, 22);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  OutgoingBlock sound = from.outgoing(id, 0), stale = from.outgoing(id, 1);
  sound.content = pair.a->content_digest(sound.bytes);
  stale.content = sound.content;
  REQUIRE(sound.content);
  pair.a->send("b", sound, dones.next());
  pair.a->send("b", stale, dones.next());
  REQUIRE(dones.wait_all());
  REQUIRE(sink->wait_landed(1));
  REQUIRE(sink->wait_failed(1));
  CHECK(sink->last_error() == ErrorCode::corrupt);
  CHECK_FALSE(Pair(with(4 << 20, false)).a->content_digest(sound.bytes));
}

TEST_CASE("digests bind transfer, index and hash: right bytes in the wrong place do not verify") {
  // With digests off at the receiver only hash and index would be looked at; here the sender lies about both
  // sides of the binding by swapping two blocks' bytes under their own headers.
  TransportOptions sending = with(4 << 20);
  Pair pair(sending, with(4 << 20));
  Blocks from(2, 10000, 21), to(2, 10000, 22);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  std::vector<ExpectedBlock> expected = to.expected(from);
  std::swap(expected[0].hash, expected[1].hash);
  REQUIRE(pair.b->expect(id, expected, sink));
  Dones dones;
  for (std::size_t i = 0; i < 2; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_failed(2));
  CHECK(sink->blocks_landed() == 0);
  REQUIRE(dones.wait_all());
}

TEST_CASE("fault points: fail, drop, and drop at the receiver") {
  FaultPoints send_faults, receive_faults;
  REQUIRE(send_faults.configure("transfer.send=fail@1"));
  REQUIRE(receive_faults.configure("transfer.receive=drop@1"));
  TransportOptions sending = with(4 << 20), receiving = with(4 << 20);
  sending.faults = &send_faults;
  receiving.faults = &receive_faults;
  Pair pair(sending, receiving);
  Blocks from(1, 10000, 23), to(1, 10000, 24);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones failed;
  pair.a->send("b", from.outgoing(id, 0), failed.next());
  REQUIRE(failed.wait_all());
  CHECK(failed.last_error() == ErrorCode::unavailable);
  Dones dones;
  pair.a->send("b", from.outgoing(id, 0), dones.next());  // arrives, and the receiver forgets it
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 1);
  round_trip(pair);
  CHECK(sink->blocks_landed() == 0);
  CHECK(sink->failures() == 0);
  pair.a->send("b", from.outgoing(id, 0), dones.next());
  REQUIRE(sink->wait_landed(1));
  REQUIRE(send_faults.configure("transfer.send=drop"));
  pair.a->send("b", from.outgoing(id, 0), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 3);  // lost on the way looks like success to the sender
}

TEST_CASE("expect refuses what contradicts itself") {
  Pair pair;
  Blocks to(2, 100, 25);
  auto sink = std::make_shared<RecordingSink>();
  const TransferId id = new_transfer();
  auto twice = to.expected(to);
  twice[1].index = 0;
  CHECK(pair.b->expect(id, twice, sink).error().code == ErrorCode::invalid_argument);
  auto empty = to.expected(to);
  empty[1].destination = {};
  CHECK(pair.b->expect(id, empty, sink).error().code == ErrorCode::invalid_argument);
  CHECK(pair.b->expect(id, to.expected(to), nullptr).error().code == ErrorCode::invalid_argument);
  REQUIRE(pair.b->expect(id, to.expected(to), sink));
  CHECK(pair.b->expect(id, to.expected(to), sink).error().code == ErrorCode::invalid_argument);
  Dones dones;
  pair.a->send("b", {id, 0, {}, {}}, dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.last_error() == ErrorCode::invalid_argument);
  CHECK_FALSE(pair.a->connect("x", std::vector<std::byte>(3)));
}

TEST_CASE("close before anything arrived, twice, and of an unknown id") {
  Pair pair;
  Blocks to(2, 100, 26);
  auto sink = std::make_shared<RecordingSink>();
  const TransferId id = new_transfer();
  REQUIRE(pair.b->expect(id, to.expected(to), sink));
  pair.b->close(new_transfer());
  pair.b->close(id);
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
  round_trip(pair);
  CHECK(sink->closed() == 1);
  REQUIRE(pair.b->expect(id, to.expected(to), std::make_shared<RecordingSink>()));  // the id is free again
}

TEST_CASE("sends to a peer that is not connected fail with unavailable") {
  Pair pair;
  Blocks from(1, 1000, 27);
  Dones dones;
  pair.a->send("nobody", from.outgoing(new_transfer(), 0), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.last_error() == ErrorCode::unavailable);
  // UCX can stop where a connection is cut in the midst of its handshake (decision 0003): it is over.
  round_trip(pair);
  await_closed_sockets();
  pair.a->disconnect("b");
  pair.a->disconnect("b");
  Dones more;
  pair.a->send("b", from.outgoing(new_transfer(), 0), more.next());
  REQUIRE(more.wait_all());
  CHECK(more.last_error() == ErrorCode::unavailable);
  CHECK(pair.a->counters().in_flight == 0);
  await_closed_sockets();
  REQUIRE(pair.a->connect("b", pair.b->address()));
  round_trip(pair);
}

TEST_CASE("connecting again leaves the other direction alone") {
  Pair pair;
  Blocks from(1, 30000, 51), to(1, 30000, 52);
  for (int round = 0; round < 3; ++round) {
    round_trip(pair);
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    REQUIRE(pair.a->expect(id, to.expected(from), sink));
    Dones dones;
    pair.b->send("a", from.outgoing(id, 0), dones.next());
    REQUIRE(dones.wait_all());
    CHECK(dones.succeeded() == 1);
    REQUIRE(sink->wait_landed(1));
    REQUIRE(pair.a->connect("b", pair.b->address()));
  }
}
