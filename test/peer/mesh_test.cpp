// Meshes that talk to each other over loopback TCP: coming up, messages, going down, dialing.
#include <algorithm>

#include "peer/mesh_fixture.hpp"

using namespace baton;
using namespace baton::test;

namespace {

ResendMessage numbered(std::uint32_t n) { return {{{5, 6}, 1}, 2, n}; }

bool in_order(const std::vector<std::pair<std::string, Message>>& messages, const std::string& from) {
  std::uint32_t next = 0;
  for (const auto& [sender, message] : messages) {
    if (sender != from) continue;
    if (std::get<ResendMessage>(message).index != next++) return false;
  }
  return next > 0;
}

}  // namespace

TEST_CASE("two nodes connect, talk both ways, and notice a goodbye") {
  // Both orders: the dialing node offers in one of them and accepts in the other.
  const auto names = GENERATE(std::pair("a", "b"), std::pair("b", "a"));
  Node one(names.first);
  one.start();
  Node two(names.second, {one.address()});
  two.info.role = Role::decode;
  two.start();
  CHECK(one.events.event(0) == "up " + two.info.name);
  CHECK(two.events.event(0) == "up " + one.info.name);

  const auto seen = one.mesh->peers();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].name == two.info.name);
  CHECK(seen[0].role == Role::decode);
  CHECK(seen[0].http_address == two.info.http_address);
  CHECK(seen[0].model_fingerprint == two.info.model_fingerprint);
  CHECK(seen[0].kv_layout == two.info.kv_layout);
  CHECK(seen[0].numerics == two.info.numerics);
  CHECK(seen[0].version == two.info.version);
  CHECK(seen[0].transport == two.info.transport);
  CHECK(seen[0].transport_address == two.info.transport_address);

  CHECK(one.mesh->send(two.info.name, numbered(0)));
  CHECK(two.mesh->send(one.info.name, numbered(0)));
  CHECK_FALSE(one.mesh->send("nobody", numbered(0)));
  CHECK(one.events.wait_messages(1));
  CHECK(two.events.wait_messages(1));
  CHECK(one.events.wait_statuses(3));  // heartbeats
  CHECK(two.events.wait_statuses(3));
  CHECK(one.metrics.gauge("baton_peer_connected", "").value() == 1);
  CHECK(one.metrics.counter("baton_peer_messages_total", "", {{"direction", "in"}}).value() >= 4);
  CHECK(one.metrics.counter("baton_peer_messages_total", "", {{"direction", "out"}}).value() >= 1);
  CHECK(one.metrics.counter("baton_peer_bytes_total", "", {{"direction", "in"}}).value() > 200);
  CHECK(one.metrics.counter("baton_peer_bytes_total", "", {{"direction", "out"}}).value() > 200);
  const auto links = two.mesh->links();
  REQUIRE(links.size() == 1);
  CHECK(links[0].connected);
  CHECK(links[0].name == one.info.name);

  two.mesh->stop();
  CHECK(one.events.event(1) == "down " + two.info.name + ": left (it is shutting down)");
  CHECK(one.mesh->peers().empty());
  CHECK_FALSE(one.mesh->send(two.info.name, numbered(1)));
  CHECK_FALSE(two.mesh->send(one.info.name, numbered(1)));
  CHECK(two.events.events().size() == 1);  // its own stop is no news to it
  CHECK(one.metrics.gauge("baton_peer_connected", "").value() == 0);
}

TEST_CASE("ten thousand messages each way arrive once and in order") {
  Node a("a");
  a.start();
  Node b("b", {a.address()});
  b.options.heartbeat = 2ms;
  b.start();
  REQUIRE(a.events.event(0) == "up b");
  REQUIRE(b.events.event(0) == "up a");
  constexpr std::uint32_t kMessages = 10'000;
  std::atomic<std::uint32_t> refused{0};
  std::thread other([&] {
    for (std::uint32_t i = 0; i < kMessages; ++i) refused += b.mesh->send("a", numbered(i)) ? 0 : 1;
  });
  for (std::uint32_t i = 0; i < kMessages; ++i) refused += a.mesh->send("b", numbered(i)) ? 0 : 1;
  other.join();
  CHECK(refused == 0);
  REQUIRE(a.events.wait_messages(kMessages));
  REQUIRE(b.events.wait_messages(kMessages));
  CHECK(in_order(a.events.messages(), "b"));
  CHECK(in_order(b.events.messages(), "a"));
  CHECK(a.events.messages().size() == kMessages);
  CHECK(a.events.events().size() == 1);
}

TEST_CASE("three nodes: a broadcast reaches both others") {
  Node a("a");
  a.start();
  Node b("b", {a.address()});
  b.start();
  Node c("c", {a.address(), b.address()});
  c.start();
  CHECK_FALSE(c.events.event(1).empty());
  CHECK_FALSE(b.events.event(1).empty());
  CHECK_FALSE(a.events.event(1).empty());
  b.mesh->broadcast(numbered(0));
  CHECK(a.events.wait_messages(1));
  CHECK(c.events.wait_messages(1));
  CHECK(a.mesh->peers().size() == 2);
  c.mesh->stop();
  CHECK(a.events.event(2) == "down c: left (it is shutting down)");
  CHECK(b.events.event(2) == "down c: left (it is shutting down)");
}

TEST_CASE("callbacks may send, also the first messages from on_peer_up") {
  Node a("a");
  Node b("b");
  a.events.when_message = [&](const std::string& from, const Message& message) {
    if (const auto* m = std::get_if<ResendMessage>(&message)) a.mesh->send(from, numbered(m->index));
  };
  b.events.when_message = [&](const std::string& from, const Message& message) {
    const auto* m = std::get_if<ResendMessage>(&message);
    if (m != nullptr && m->index < 999) b.mesh->send(from, numbered(m->index + 1));
  };
  b.events.when_up = [&](const NodeInfo& peer) { b.mesh->send(peer.name, numbered(0)); };
  a.start();
  b.options.peers = {a.address()};
  b.start();
  REQUIRE(a.events.wait_messages(1000));
  CHECK(in_order(a.events.messages(), "b"));
}

TEST_CASE("a large message goes through, one larger than a frame is refused and harms nothing") {
  Node a("a");
  a.options.max_frame_bytes = 3 << 20;
  a.start();
  Node b("b", {a.address()});
  b.options.max_frame_bytes = 3 << 20;
  b.start();
  REQUIRE(b.events.event(0) == "up a");
  ReserveMessage large;
  large.tokens.assign(500'000, 100'000);  // 2.5 MB
  CHECK(b.mesh->send("a", large));
  large.tokens.resize(700'000);
  large.tokens.assign(700'000, 100'000);
  CHECK_FALSE(b.mesh->send("a", large));
  CHECK(b.logger.has("larger than a frame"));
  CHECK(b.mesh->send("a", numbered(0)));
  REQUIRE(a.events.wait_messages(2));
  CHECK(std::get<ReserveMessage>(a.events.messages()[0].second).tokens.size() == 500'000);
  CHECK(a.events.events().size() == 1);
}

TEST_CASE("two nodes that dial each other keep one connection and lose nothing") {
  for (int round = 0; round < 12; ++round) {
    const std::uint16_t port_a = free_port();
    const std::uint16_t port_b = free_port();
    Node a("a", {"127.0.0.1:" + std::to_string(port_b)});
    Node b("b", {"127.0.0.1:" + std::to_string(port_a)});
    a.options.listen_port = port_a;
    b.options.listen_port = port_b;
    a.events.when_up = [&](const NodeInfo&) { a.mesh->send("b", numbered(0)); };
    b.events.when_up = [&](const NodeInfo&) { b.mesh->send("a", numbered(0)); };
    std::thread other([&] { (void)b.begin(); });
    (void)a.begin();
    other.join();
    REQUIRE((a.port == port_a && b.port == port_b));
    REQUIRE(a.events.wait_messages(1));
    REQUIRE(b.events.wait_messages(1));
    // Whatever the losing dialer still does is over after a few heartbeats and backoffs.
    std::this_thread::sleep_for(round < 2 ? 600ms : 50ms);
    CHECK(a.events.events() == std::vector<std::string>{"up b"});
    CHECK(b.events.events() == std::vector<std::string>{"up a"});
    CHECK(a.events.messages().size() == 1);
    CHECK(Node::eventually([&] { return a.mesh->links()[0].connected && b.mesh->links()[0].connected; }));
  }
}

TEST_CASE("a peer that comes later is found, and one that restarts is found again") {
  const std::uint16_t port = free_port();
  Node a("a", {"127.0.0.1:" + std::to_string(port)});
  a.start();
  CHECK(Node::eventually([&] { return a.logger.has("why=Connection refused"); }));
  CHECK(a.mesh->links()[0].problem == "Connection refused");
  for (const std::size_t life : {0, 1}) {
    Node b("b");
    b.options.listen_port = port;
    b.start();
    CHECK(a.events.event(2 * life) == "up b");
    CHECK(b.events.event(0) == "up a");
    b.mesh->stop();
    CHECK(a.events.event(2 * life + 1) == "down b: left (it is shutting down)");
  }
}

TEST_CASE("a restarted peer replaces its earlier life, though that was never seen to die") {
  const auto names = GENERATE(std::pair("a", "b"), std::pair("b", "a"));
  Node stays(names.first);
  stays.options.silence = 60s;
  stays.start();
  Relay relay(stays.port);
  Node first(names.second, {relay.address()});
  first.options.silence = 60s;
  first.start();
  REQUIRE(stays.events.event(0) == "up " + first.info.name);
  REQUIRE(first.events.event(0) == "up " + stays.info.name);
  relay.freeze(true);  // its end is not heard of

  Node second(names.second, {stays.address()});
  second.start();
  CHECK(stays.events.event(1) == "down " + first.info.name + ": was restarted");
  CHECK(stays.events.event(2) == "up " + first.info.name);
  CHECK(second.events.event(0) == "up " + stays.info.name);
  CHECK(stays.logger.has("two nodes have the same name"));
  CHECK(second.mesh->send(stays.info.name, numbered(0)));
  CHECK(stays.events.wait_messages(1));
  first.mesh->stop();
  CHECK(stays.events.events().size() == 3);
}

TEST_CASE("a node that is its own peer drops that entry") {
  const std::uint16_t port = free_port();
  Node a("a", {"127.0.0.1:" + std::to_string(port)});
  a.options.listen_port = port;
  a.start();
  CHECK(Node::eventually([&] { return a.mesh->links().empty(); }));
  CHECK(a.logger.has("this node itself"));
  CHECK(a.events.events().empty());
  CHECK(a.failures("name") == 0);
}

TEST_CASE("addresses that come later are dialed, and a live connection outlives its address") {
  Node b("b");
  b.start();
  Node c("c");
  c.start();
  Node a("a");
  a.start();
  CHECK(a.mesh->links().empty());
  a.mesh->set_peers({b.address(), "no address", a.address(), b.address()});
  REQUIRE(a.events.event(0) == "up b");
  CHECK(a.logger.has("address=no address"));
  // Of the four entries, b's is left: this node itself is found out.
  REQUIRE(Node::eventually([&] { return a.mesh->links().size() == 1 && a.mesh->links()[0].connected; }));
  CHECK(a.mesh->links()[0].name == "b");

  a.mesh->set_peers({c.address()});
  REQUIRE(a.events.event(1) == "up c");
  REQUIRE(a.mesh->links().size() == 1);
  CHECK(a.mesh->links()[0].address == c.address());
  CHECK(a.mesh->peers().size() == 2);
  CHECK(a.mesh->send("b", numbered(0)));
  CHECK(b.events.wait_messages(1));
  CHECK(a.events.events().size() == 2);  // b did not go down
}

TEST_CASE("an address that is gone is not dialed any more, and dialed again once it is back") {
  const std::uint16_t port = free_port();
  const std::string address = "127.0.0.1:" + std::to_string(port);
  Node a("a", {address});
  a.start();
  REQUIRE(Node::eventually([&] { return a.logger.has("why=Connection refused"); }));
  a.mesh->set_peers({});
  REQUIRE(Node::eventually([&] { return a.mesh->links().empty(); }));
  Node b("b");
  b.options.listen_port = port;
  b.start();
  std::this_thread::sleep_for(300ms);  // a dialer would have tried again by now
  CHECK(a.events.events().empty());
  a.mesh->set_peers({address});
  CHECK(a.events.event(0) == "up b");
  a.mesh->set_peers({});
  a.mesh->set_peers({address});  // before the first one's dialer is gone
  b.mesh->stop();
  CHECK(a.events.event(1).starts_with("down b: "));
  Node again("b");
  again.options.listen_port = port;
  again.start();
  CHECK(a.events.event(2) == "up b");
}

TEST_CASE("addresses may change at any time, also while connecting and stopping") {
  Node b("b");
  b.start();
  Node a("a");
  a.start();
  std::atomic<bool> over{false};
  std::thread changes([&] {
    // 192.0.2.1 belongs to nobody (RFC 5737): connecting hangs or fails, as the network likes.
    for (int i = 0; i < 200 && !over; ++i) {
      a.mesh->set_peers({b.address(), "192.0.2.1:7"});
      a.mesh->set_peers({"localhost:" + std::to_string(b.port)});
      std::this_thread::sleep_for(1ms);
    }
  });
  CHECK(a.events.event(0) == "up b");
  std::this_thread::sleep_for(50ms);
  a.mesh->stop();
  over = true;
  changes.join();
}

TEST_CASE("names are resolved, IPv6 works") {
  Node a("a");
  a.start();
  Node b("b", {"localhost:" + std::to_string(a.port)});
  b.start();
  CHECK(b.events.event(0) == "up a");
  Node c("c", {"no-such-host.invalid:1"});
  c.start();
  CHECK(Node::eventually([&] { return c.logger.has("cannot resolve no-such-host.invalid"); }));

  Node six("six");
  six.options.listen_host = "::1";
  six.mesh = std::make_unique<PeerMesh>(six.options, six.info, six.events, six.logger, six.metrics);
  const auto bound = six.mesh->start();
  if (!bound) return;  // a machine without IPv6
  Node d("d", {"[::1]:" + std::to_string(*bound)});
  d.start();
  CHECK(d.events.event(0) == "up six");
}

TEST_CASE("a silent peer is down after `silence`, and found again") {
  Node a("a");
  a.options.silence = 300ms;
  a.start();
  Relay relay(a.port);
  Node b("b", {relay.address()});
  b.options.silence = 300ms;
  b.start();
  REQUIRE(a.events.event(0) == "up b");
  REQUIRE(b.events.event(0) == "up a");
  relay.freeze(true);
  CHECK(a.events.event(1).starts_with("down b: silent for "));
  CHECK(b.events.event(1).starts_with("down a: silent for "));
  CHECK_FALSE(a.mesh->send("b", numbered(0)));
  relay.freeze(false);
  CHECK(a.events.event(2) == "up b");
  CHECK(b.events.event(2) == "up a");
}

TEST_CASE("a taken port and wrong options are named") {
  const auto [taken, port] = listen_anywhere();
  Node a("a");
  a.options.listen_port = port;
  a.mesh = std::make_unique<PeerMesh>(a.options, a.info, a.events, a.logger, a.metrics);
  auto started = a.mesh->start();
  REQUIRE_FALSE(started);
  CHECK(started.error().code == ErrorCode::io);
  CHECK(started.error().message ==
        "cannot listen on 127.0.0.1:" + std::to_string(port) + ": Address already in use");

  Node b("b", {"nonsense"});
  b.mesh = std::make_unique<PeerMesh>(b.options, b.info, b.events, b.logger, b.metrics);
  started = b.mesh->start();
  REQUIRE_FALSE(started);
  CHECK(started.error().code == ErrorCode::invalid_argument);
  CHECK(started.error().message == "peer 'nonsense': expected host:port");
}

TEST_CASE("stop under load: nothing is called afterwards, and sending is harmless") {
  for (int round = 0; round < 5; ++round) {
    Node a("a");
    std::atomic<bool> stopped{false};
    std::atomic<int> late{0};
    a.events.when_message = [&](const std::string&, const Message&) { late += stopped ? 1 : 0; };
    a.start();
    Node b("b", {a.address()});
    b.start();
    REQUIRE(a.events.event(0) == "up b");
    REQUIRE(b.events.event(0) == "up a");
    std::atomic<bool> over{false};
    std::vector<std::thread> senders;
    for (int i = 0; i < 2; ++i) {
      senders.emplace_back([&] {
        while (!over) {
          a.mesh->send("b", numbered(0));
          b.mesh->send("a", numbered(0));
        }
      });
    }
    REQUIRE(a.events.wait_messages(100));
    a.mesh->stop();
    stopped = true;
    CHECK(b.events.event(1).starts_with("down a: "));
    over = true;
    for (std::thread& sender : senders) sender.join();
    CHECK(late == 0);
    CHECK(a.events.events().size() == 1);
  }
}

// Not part of the suite: ./peer_mesh_test "[latency]"
TEST_CASE("round trip of a token message", "[.][latency]") {
  Node a("a");
  a.events.when_message = [&](const std::string& from, const Message& message) {
    if (std::holds_alternative<TokensMessage>(message)) a.mesh->send(from, message);
  };
  a.start();
  Node b("b", {a.address()});
  std::atomic<int> back{0};
  b.events.when_message = [&](const std::string&, const Message& message) {
    if (std::holds_alternative<TokensMessage>(message)) {
      ++back;
      back.notify_one();
    }
  };
  b.start();
  REQUIRE(b.events.event(0) == "up a");
  TokensMessage tokens;
  tokens.events.push_back({{{1, 2}, 0}, 0, 7, {1234, 0, {}}});
  std::vector<double> microseconds;
  for (int i = 0; i < 20'000; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const int before = back;
    b.mesh->send("a", tokens);
    back.wait(before);
    microseconds.push_back(to_milliseconds(std::chrono::steady_clock::now() - begin) * 1000);
  }
  std::sort(microseconds.begin(), microseconds.end());
  WARN("round trip: p50 " << microseconds[microseconds.size() / 2] << " us, p99 "
                          << microseconds[microseconds.size() * 99 / 100] << " us");
}
