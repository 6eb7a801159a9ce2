// Where UCX listens and what it dials: IPv6, and connections that never come about. Those fail their sends,
// and nothing aborts, then or at the end.
#include <chrono>
#include <cstdlib>

#include "baton/transfer/ucx_transport.hpp"
#include "child.hpp"
#include "contract.hpp"
#include "deaf.hpp"
#include "support/catch.hpp"
#include "transfer/listen_address.hpp"

using namespace baton;
using namespace baton::test;
using namespace baton::transfer;

namespace {

constexpr std::size_t kBytes = 512 << 10;

Result<std::unique_ptr<KvTransport>> try_transport(const std::string& address,
                                                   std::map<std::string, std::string> settings = {}) {
  UcxOptions options;
  options.transport.interface_address = address;
  options.settings = std::move(settings);
  options.force_rendezvous = std::getenv("BATON_TEST_RENDEZVOUS") != nullptr;
  return make_ucx_transport(options, null_logger());
}

std::unique_ptr<KvTransport> make_transport(const std::string& address) {
  auto made = try_transport(address);
  if (!made) FAIL(made.error().message);
  return std::move(*made);
}

// A child with a transport, connected both ways to ours under the name "child" ("parent" there).
void connect(KvTransport& ours, Child& child) {
  const auto line = child.hear_until("address ");
  REQUIRE(line);
  REQUIRE(ours.connect("child", bytes_of(line->substr(8))));
  child.say("connect " + hex_of(ours.address()));
}

std::string order(const std::string& verb, TransferId id, std::size_t blocks) {
  return verb + " " + to_hex(id) + " " + std::to_string(blocks) + " " + std::to_string(kBytes) + " 1";
}

// Blocks between two processes at this address, both ways, and both end well.
void check_both_ways(const std::string& address) {
  constexpr std::size_t kBlocks = 5;
  Child child("transfer_peer", {"--interface=" + address});
  auto ours = make_transport(address);
  connect(*ours, child);
  Blocks to(kBlocks, kBytes, 2), from(kBlocks, kBytes, 1);
  const TransferId in = new_transfer(), out = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(ours->expect(in, to.expected(from), sink));
  child.say(order("expect", out, kBlocks));
  REQUIRE(child.hear_until("expecting"));
  child.say(order("send", in, kBlocks));
  Dones dones;
  for (std::size_t i = 0; i < kBlocks; ++i) ours->send("child", from.outgoing(out, i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == kBlocks);
  REQUIRE(sink->wait_landed(kBlocks));
  CHECK(to.equals(from));
  ours.reset();
  child.say("quit");
  CHECK(child.wait() == 0);
}

// A socket of this test's own that listens at [::1], or -1 where there is no IPv6.
int listen_on_loopback_v6(std::uint16_t& port) {
  const sockaddr_storage address = to_sockaddr(*parse_ip("::1"), 0);
  const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  if (fd >= 0 && ::bind(fd, at, sizeof(sockaddr_in6)) == 0 && ::listen(fd, 1) == 0) {
    port = local_port(fd);
    return fd;
  }
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

TEST_CASE("blocks travel between peers at IPv6 addresses") {
  bool any = false;
  for (const Interface& interface : local_interfaces()) {
    if (interface.address.family != 6) continue;
    any = true;
    INFO(to_string(interface.address));
    check_both_ways(to_string(interface.address));
    if (!interface.loopback) check_both_ways("::");
  }
  if (!any) WARN("skipped: this machine has no IPv6 address");
}

TEST_CASE("connections that are refused half-way fail their sends, and both processes end well") {
  Child child("transfer_peer");  // first: it would inherit our sockets
  auto ours = make_transport("127.0.0.1");
  deafen(*ours);
  child.say("deafen");
  connect(*ours, child);
  for (int i = 0; i < 8; ++i) {
    child.say(order("send", new_transfer(), 1));
    CHECK(child.hear_until("sent ") == "sent 0 unavailable");
    Blocks from(1, kBytes, 1);
    Dones dones;
    ours->send("child", from.outgoing(new_transfer(), 0), dones.next());
    REQUIRE(dones.wait_all());
    CHECK(dones.succeeded() == 0);
    child.say("connect " + hex_of(ours->address()));
  }
  ours.reset();
  child.say("quit");
  CHECK(child.wait() == 0);
}

// Peers of one machine of which one listens on loopback and the other does not: whether UCX joins them is not
// said here.
TEST_CASE("loopback and another interface: every send ends, and both processes end well") {
  for (const Interface& interface : local_interfaces()) {
    if (interface.loopback || interface.address.family != 4) continue;
    const std::string other = to_string(interface.address);
    for (const bool turned : {false, true}) {
      Child child("transfer_peer", {"--interface=" + (turned ? "127.0.0.1" : other)});
      auto ours = make_transport(turned ? other : "127.0.0.1");
      connect(*ours, child);
      Blocks from(1, kBytes, 1);
      Dones dones;
      ours->send("child", from.outgoing(new_transfer(), 0), dones.next());
      child.say(order("send", new_transfer(), 1));
      CHECK(child.hear_until("sent "));
      REQUIRE(dones.wait_all());
      ours.reset();
      child.say("quit");
      CHECK(child.wait() == 0);
    }
  }
}

// UCX would write 28 bytes of such an address into the 16 that it has for one, and abort at some later time.
TEST_CASE("an address of another family is never dialed") {
  UcxAddress stranger;
  const int listener = listen_on_loopback_v6(stranger.port);
  if (listener < 0) {
    WARN("skipped: this machine has no IPv6 loopback");
    return;
  }
  stranger.sender = {1, 2};
  stranger.machine = machine_id();
  stranger.candidates = {*parse_ip("::1")};
  auto ours = make_transport("127.0.0.1");
  REQUIRE(ours->connect("stranger", encode_ucx_address(stranger)));
  Blocks from(1, kBytes, 1);
  Dones dones;
  ours->send("stranger", from.outgoing(new_transfer(), 0), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.last_error() == ErrorCode::unavailable);
  CHECK(::accept(listener, nullptr, nullptr) < 0);  // before UCX is told to connect, the kernel has done so
  ours.reset();
  ::close(listener);
}

TEST_CASE("settings that put UCX's sockets elsewhere are refused at start") {
  for (const Interface& interface : local_interfaces()) {
    if (interface.loopback || interface.address.family != 6) continue;
    const auto made = try_transport(to_string(interface.address), {{"TCP_AF_PRIO", "inet"}});
    CHECK_FALSE(
        made);  // without IPv4 there, UCX has no device; else the sockets are not where they should be
  }
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_storage address = to_sockaddr(*parse_ip("127.0.0.1"), 0);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(sockaddr_in)) == 0);
  CHECK(check_tcp_sockets({fd}, *parse_ip("127.0.0.1")));
  CHECK(check_tcp_sockets({fd}, *parse_ip("0.0.0.0")));
  for (const char* other : {"10.0.0.1", "::1", "::"}) {
    const auto wrong = check_tcp_sockets({fd}, *parse_ip(other));
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().field == "interface_address");
    CHECK(wrong.error().message.find(other) != std::string::npos);
  }
  ::close(fd);
}

TEST_CASE("where to listen") {
  const auto at = [](const char* name, const char* address, bool loopback = false) {
    return Interface{name, *parse_ip(address), 24, loopback};
  };
  const std::vector<Interface> both{at("lo", "127.0.0.1", true), at("eth0", "10.1.0.5"),
                                    at("eth0", "10.1.0.6"),      at("lo", "::1", true),
                                    at("eth0", "fd00::5"),       at("eth0", "fd00::6")};
  const std::vector<Interface> only_v6{at("lo", "::1", true), at("eth0", "fd00::5")};
  const auto choose = [](const std::string& wanted, const std::vector<Interface>& ours) {
    const auto chosen = choose_listen_address(wanted, ours);
    return chosen ? to_string(*chosen) : "refused";
  };
  CHECK(choose("::1", both) == "127.0.0.1");
  CHECK(choose("127.0.0.1", both) == "127.0.0.1");
  CHECK(choose("127.0.0.2", both) == "127.0.0.1");
  CHECK(choose("::1", only_v6) == "::1");  // UCX from 1.14 on has it; the sockets are looked at afterwards
  for (const char* first : {"10.1.0.5", "fd00::5"}) CHECK(choose(first, both) == first);
  CHECK(choose("10.1.0.6", both) == "10.1.0.5");
  CHECK(choose("fd00::6", both) == "fd00::5");
  CHECK(choose("fd00::7", both) == "fd00::7");  // not ours: binding to it will say so
  CHECK(choose("", both) == "0.0.0.0");
  CHECK(choose("", {}) == "0.0.0.0");
  CHECK(choose("", only_v6) == "::");
  CHECK(choose("fe80::1%eth0", both) == "refused");
  CHECK_FALSE(is_of_ucx(only_v6[0], only_v6));
  CHECK(is_of_ucx(both[4], both));
  CHECK_FALSE(is_of_ucx(both[5], both));
}
