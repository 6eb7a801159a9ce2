// Handles to blocks: the engine that owns the memory issues one for each transfer, to who asked for it, and
// it ends: when the transfer is complete, given up, or late. Against real loopback transport, in the test's
// time.
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

#include "baton/cache/block_pool.hpp"
#include "engine/handoff_receiver.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t kBlockSize = 4;
constexpr std::int32_t kBlocks = 8;
const KvLayout kLayout{DType::f32, 1, 1, 8, kBlockSize};

struct TestClock final : Clock {
  TimePoint time{1h};
  TimePoint now() const override { return time; }
};

struct Sent final : ControlPlane {
  std::vector<std::pair<std::string, Message>> messages;
  bool send(const std::string& node, const Message& message) override {
    messages.emplace_back(node, message);
    return true;
  }
  void publish(const BlockEventsMessage&) override {}
  template <class T>
  const T* last() const {
    return messages.empty() ? nullptr : std::get_if<T>(&messages.back().second);
  }
};

// What transport threads post, run by the test.
struct Posted {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::function<void()>> waiting;
  bool run_until(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      std::unique_lock lock(mutex);
      if (!changed.wait_until(lock, limit, [&] { return !waiting.empty(); })) return false;
      const auto now = std::exchange(waiting, {});
      lock.unlock();
      for (const auto& task : now) task();
    }
    return true;
  }
};

struct Owner {
  Owner() : memory(kBlocks * kLayout.block_bytes(), std::byte{0}) {
    REQUIRE(theirs->connect("owner", ours->address()));
    REQUIRE(ours->connect("asker", theirs->address()));
    Engine::Parts parts;
    parts.kv = {memory.data(), kLayout, kBlocks};
    parts.transport = ours.get();
    parts.control = &sent;
    parts.clock = &clock;
    parts.logger = &null_logger();
    EngineOptions options;
    options.role = Role::decode;
    const auto post = [this](std::function<void()> task) {
      const std::lock_guard lock(posted.mutex);
      posted.waiting.push_back(std::move(task));
      posted.changed.notify_all();
      return true;
    };
    receiver.emplace(options, parts, pool, post, [](const RequestKey&, HandoffReceiver::Delivery) {});
  }
  ~Owner() {
    receiver->abandon_all();
    posted.run_until([&] { return receiver->idle(); });
  }

  // The handle for a prompt of two blocks.
  TransferId reserve(std::uint64_t request, const std::string& from = "asker") {
    const TokenId first = static_cast<TokenId>(100 * request);
    ReserveMessage message;
    message.key = {{1, request}, 0};
    message.tokens = {first, 1, 2, 3, 4, 5, 6, 7};
    message.ttl_ms = 1000;
    receiver->on_reserve(from, message, key, clock.now());
    REQUIRE(sent.last<ReservedMessage>() != nullptr);
    CHECK(sent.messages.back().first == from);  // and nobody else
    blocks = TravellingBlocks(message.tokens, block_hashes(message.tokens, kBlockSize, key), kLayout);
    return sent.last<ReservedMessage>()->transfer;
  }
  // Sends one right block under a handle and waits until it has left.
  void send(TransferId handle, std::uint32_t index) {
    bool done = false;
    theirs->send("owner", {handle, index, blocks.hash(index), bytes}, [&](Result<void>) {
      const std::lock_guard lock(posted.mutex);
      posted.waiting.push_back([&] { done = true; });
      posted.changed.notify_all();
    });
    REQUIRE(posted.run_until([&] { return done; }));
  }
  std::size_t written() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(memory, [](std::byte b) { return b != std::byte{0}; }));
  }

  TestClock clock;
  Sent sent;
  Posted posted;
  std::vector<std::byte> memory;
  std::vector<std::byte> bytes = std::vector<std::byte>(kLayout.block_bytes(), std::byte{0x5A});
  TravellingBlocks blocks;
  const BlockHashKey key = make_block_hash_key("secret", {}, kLayout.id(), "");
  std::shared_ptr<LoopbackHub> hub = make_loopback_hub();
  std::unique_ptr<KvTransport> ours = make_loopback_transport(hub, {});
  std::unique_ptr<KvTransport> theirs = make_loopback_transport(hub, {});
  BlockPool pool{kBlocks, kBlockSize};
  std::optional<HandoffReceiver> receiver;
};

}  // namespace

TEST_CASE("every transfer has a handle of its own that says nothing about the next") {
  Owner owner;
  std::set<TransferId> handles;
  for (std::uint64_t request = 1; request <= 4; ++request) handles.insert(owner.reserve(request));
  CHECK(handles.size() == 4);
  std::set<std::uint64_t> words;
  for (const TransferId& handle : handles) words.insert({handle.high, handle.low});
  CHECK(words.size() == 8);
}

TEST_CASE("a handle that has expired opens nothing, and its memory is given back") {
  Owner owner;
  const TransferId handle = owner.reserve(1);
  CHECK(owner.pool.in_use() == 2);
  owner.clock.time += 2s;
  owner.receiver->expire(owner.clock.now());
  CHECK(owner.receiver->live() == 1);  // a second to live, and two for the answer to travel
  owner.clock.time += 2s;
  owner.receiver->expire(owner.clock.now());
  CHECK(owner.receiver->live() == 0);
  CHECK(owner.sent.last<AbortMessage>() != nullptr);
  REQUIRE(owner.posted.run_until([&] { return owner.receiver->idle(); }));
  CHECK(owner.pool.in_use() == 0);
  owner.send(handle, 0);
  owner.send(handle, 1);
  CHECK(owner.ours->counters().dropped == 2);
  CHECK(owner.written() == 0);
}

TEST_CASE("a handle ends with its transfer, and the blocks stay as they were verified") {
  Owner owner;
  const TransferId handle = owner.reserve(1);
  owner.send(handle, 0);
  owner.send(handle, 1);
  REQUIRE(owner.posted.run_until([&] { return owner.sent.last<ReceivedMessage>() != nullptr; }));
  const std::vector<std::byte> verified = owner.memory;
  std::ranges::fill(owner.bytes, std::byte{0x66});
  owner.send(handle, 0);
  CHECK(owner.ours->counters().dropped == 1);
  CHECK(owner.memory == verified);
}

TEST_CASE("a handle that was given up, and one that was never issued, open nothing") {
  Owner owner;
  const TransferId handle = owner.reserve(1);
  owner.receiver->on_abort({{{1, 1}, 0}, 0});
  owner.send(handle, 0);
  TransferId guessed = handle;
  ++guessed.low;
  owner.send(guessed, 0);
  CHECK(owner.ours->counters().dropped == 2);
  CHECK(owner.written() == 0);
}
