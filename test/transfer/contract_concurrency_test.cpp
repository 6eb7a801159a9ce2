// The contract of KvTransport where things happen at once: closing, cutting and destroying in flight.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "contract.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;

namespace {

TransportOptions small_parts(bool digests = true) {
  TransportOptions options;
  options.max_message_bytes = 48 << 10;
  options.digests = digests;
  return options;
}

constexpr std::byte kReused{0xEE};

}  // namespace

TEST_CASE("many transfers at once") {
  Pair pair(small_parts());
  constexpr std::size_t kTransfers = 24, kBlocks = 6;
  struct One {
    Blocks from{kBlocks, 60000, 1}, to{kBlocks, 60000, 2};
    TransferId id = new_transfer();
    std::shared_ptr<RecordingSink> sink = std::make_shared<RecordingSink>();
    Dones dones;
  };
  std::vector<std::unique_ptr<One>> all;
  for (std::size_t i = 0; i < kTransfers; ++i) {
    all.push_back(std::make_unique<One>());
    all.back()->from = Blocks(kBlocks, 60000, 100 + i);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = static_cast<std::size_t>(t); i < kTransfers; i += 3) {
        One& one = *all[i];
        KvTransport& from = i % 2 == 0 ? *pair.a : *pair.b;
        KvTransport& to = i % 2 == 0 ? *pair.b : *pair.a;
        if (!to.expect(one.id, one.to.expected(one.from), one.sink)) std::abort();
        for (std::size_t k = 0; k < kBlocks; ++k)
          from.send(i % 2 == 0 ? "b" : "a", one.from.outgoing(one.id, k), one.dones.next());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < kTransfers; ++i) {
    One& one = *all[i];
    REQUIRE(one.sink->wait_landed(kBlocks));
    REQUIRE(one.dones.wait_all());
    CHECK(one.dones.each_once());
    CHECK(one.to.equals(one.from));
    (i % 2 == 0 ? pair.b : pair.a)->close(one.id);
    REQUIRE(one.sink->wait_closed());
    CHECK(one.sink->failures() == 0);
  }
  CHECK(pair.a->counters().in_flight == 0);
  CHECK(pair.b->counters().in_flight == 0);
  CHECK(pair.a->counters().blocks_sent + pair.b->counters().blocks_sent == kTransfers * kBlocks);
}

TEST_CASE("after on_closed the destinations are ours again: close in flight") {
  const bool digests = GENERATE(true, false);
  Pair pair(small_parts(digests));
  std::mt19937 random(7);
  constexpr std::size_t kBlocks = 12;
  Blocks from(kBlocks, 200000, 31), to(kBlocks, 200000, 32);
  std::size_t interrupted = 0;
  for (int round = 0; round < 40; ++round) {
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    sink->closed_hook = [&] { to.fill(kReused); };  // what the engine does: the blocks go to someone else
    const std::size_t stop_after = random() % kBlocks;
    std::atomic<std::size_t> seen{0};
    sink->block_hook = [&](std::uint32_t) {
      if (seen.fetch_add(1) == stop_after) pair.b->close(id);
    };
    REQUIRE(pair.b->expect(id, to.expected(from), sink));
    Dones dones;
    std::thread sender([&] {
      for (std::size_t i = 0; i < kBlocks; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
    });
    if (round % 4 == 0) pair.b->close(id);  // from another thread, at any moment
    REQUIRE(sink->wait_closed());
    sender.join();
    REQUIRE(dones.wait_all());
    CHECK(dones.each_once());
    CHECK(sink->closed() == 1);
    CHECK(sink->late() == 0);
    if (sink->blocks_landed() < kBlocks) ++interrupted;
    REQUIRE(to.all(kReused));
  }
  CHECK(interrupted > 0);
  // The connection survived it all.
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  for (std::size_t i = 0; i < kBlocks; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(kBlocks));
  REQUIRE(dones.wait_all());
  CHECK(to.equals(from));
  CHECK(pair.b->counters().in_flight == 0);
}

TEST_CASE("the receiver cuts a sender off in flight") {
  Pair pair(small_parts());
  constexpr std::size_t kBlocks = 16;
  for (int round = 0; round < 8; ++round) {
    Blocks from(kBlocks, 300000, 41), to(kBlocks, 300000, 42);
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    sink->closed_hook = [&] { to.fill(kReused); };
    REQUIRE(pair.b->expect(id, to.expected(from), sink));
    Dones dones;
    for (std::size_t i = 0; i < kBlocks; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
    if (round % 2 == 1) REQUIRE(sink->wait_landed(static_cast<std::size_t>(round)));
    pair.b->disconnect("a");
    pair.b->close(id);
    REQUIRE(sink->wait_closed());
    REQUIRE(dones.wait_all());  // with success or unavailable, but they end
    CHECK(dones.each_once());
    CHECK(sink->late() == 0);
    CHECK(to.all(kReused));
    CHECK(pair.b->counters().in_flight == 0);
    await_closed_sockets();
    REQUIRE(pair.b->connect("a", pair.a->address()));
    REQUIRE(pair.a->connect("b", pair.b->address()));
  }
}

TEST_CASE("the sender cuts the receiver off in flight: its sends fail with unavailable") {
  FaultPoints faults;
  TransportOptions sending = small_parts();
  sending.faults = &faults;
  Pair pair(sending, small_parts());
  constexpr std::size_t kBlocks = 16;
  Blocks from(kBlocks, 300000, 43), to(kBlocks, 300000, 44);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  REQUIRE(faults.configure("transfer.send=hold:200@1"));  // so that all are still in flight
  Dones dones;
  for (std::size_t i = 0; i < kBlocks; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
  pair.a->disconnect("b");
  REQUIRE(dones.wait_all());
  CHECK(dones.each_once());
  CHECK(dones.succeeded() < kBlocks);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  CHECK(pair.a->counters().in_flight == 0);
  await_closed_sockets();
  REQUIRE(pair.a->connect("b", pair.b->address()));
  Dones again;
  for (std::size_t i = 0; i < kBlocks; ++i)
    if (sink->landed(static_cast<std::uint32_t>(i)) == 0)
      pair.a->send("b", from.outgoing(id, i), again.next());
  REQUIRE(sink->wait_landed(kBlocks));
  REQUIRE(again.wait_all());
  CHECK(to.equals(from));
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
}

TEST_CASE("close waits for a verification under way") {
  FaultPoints faults;
  REQUIRE(faults.configure("transfer.receive=hold:150"));
  TransportOptions receiving = small_parts();
  receiving.faults = &faults;
  Pair pair(small_parts(), receiving);
  Blocks from(1, 1000, 45), to(1, 1000, 46);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  std::atomic<bool> verified{false}, closed_first{false};
  sink->block_hook = [&](std::uint32_t) { verified = true; };
  sink->closed_hook = [&] { closed_first = pair.b->counters().in_flight != 0; };
  REQUIRE(pair.b->expect(id, to.expected(from), sink));
  Dones dones;
  pair.a->send("b", from.outgoing(id, 0), dones.next());
  REQUIRE(dones.wait_all());
  pair.b->close(id);
  REQUIRE(sink->wait_closed());
  CHECK_FALSE(closed_first);
  CHECK(sink->late() == 0);
}

TEST_CASE("destruction with things in flight ends every send and closes every transfer") {
  const bool receiver_first = GENERATE(true, false);
  for (int round = 0; round < 6; ++round) {
    Blocks from(16, 300000, 47), to(16, 300000, 48);
    Pair pair(small_parts(round % 2 == 0));
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    REQUIRE(pair.b->expect(id, to.expected(from), sink));
    Dones dones;
    for (std::size_t i = 0; i < 16; ++i) pair.a->send("b", from.outgoing(id, i), dones.next());
    if (round >= 2) REQUIRE(sink->wait_landed(static_cast<std::size_t>(round)));
    if (receiver_first) {
      pair.b.reset();
      CHECK(sink->closed() == 1);
      to.fill(kReused);
      REQUIRE(dones.wait_all());
      pair.a.reset();
    } else {
      pair.a.reset();
      CHECK(dones.each_once());
      pair.b.reset();
      CHECK(sink->closed() == 1);
      to.fill(kReused);
    }
    CHECK(dones.each_once());
    CHECK(sink->late() == 0);
    CHECK(to.all(kReused));
  }
}

TEST_CASE("callbacks may call back into the transport") {
  Pair pair(small_parts());
  Blocks from(4, 5000, 49), to(4, 5000, 50);
  const TransferId first = new_transfer(), second = new_transfer();
  auto sink = std::make_shared<RecordingSink>(), next = std::make_shared<RecordingSink>();
  Dones dones;
  sink->closed_hook = [&] {
    if (!pair.b->expect(second, to.expected(from), next)) std::abort();
    for (std::size_t i = 0; i < 4; ++i) pair.a->send("b", from.outgoing(second, i), dones.next());
  };
  sink->block_hook = [&](std::uint32_t index) {
    if (index == 3) pair.b->close(first);
  };
  REQUIRE(pair.b->expect(first, to.expected(from), sink));
  for (std::size_t i = 0; i < 4; ++i) pair.a->send("b", from.outgoing(first, i), dones.next());
  REQUIRE(next->wait_landed(4));
  REQUIRE(dones.wait_all());
  CHECK(to.equals(from));
}
