// Real UCX between two processes, one of which is killed, stopped, or hostile.
#include <arpa/inet.h>
#include <poll.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "baton/transfer/ucx_transport.hpp"
#include "child.hpp"
#include "contract.hpp"
#include "support/catch.hpp"
#include "transfer/own_sockets.hpp"
#include "transfer/part_header.hpp"
#include "transfer/source_filter.hpp"
#include "transfer/ucx_address.hpp"
#include "transfer/ucx_link_name.hpp"

using namespace baton;
using namespace baton::test;

namespace {

constexpr std::size_t kBlocks = 64, kBytes = 512 << 10;
constexpr std::byte kReused{0xEE};

// Slows sends down, so that "in mid-transfer" is true on a fast machine too.
FaultPoints& pace() {
  static FaultPoints faults;
  (void)faults.configure("transfer.send=hold:2");
  return faults;
}

std::unique_ptr<KvTransport> make_transport(UcxOptions options = {}) {
  options.transport.interface_address = "127.0.0.1";
  options.force_rendezvous = std::getenv("BATON_TEST_RENDEZVOUS") != nullptr;
  auto made = make_ucx_transport(options, null_logger());
  if (!made) FAIL(made.error().message);
  return std::move(*made);
}

// A child with a transport, connected both ways to ours under the name "child" ("parent" there).
std::unique_ptr<Child> connected_child(KvTransport& ours, std::vector<std::string> arguments = {}) {
  auto child = std::make_unique<Child>("transfer_peer", arguments);
  const auto line = child->hear_until("address ");
  REQUIRE(line);
  REQUIRE(ours.connect("child", bytes_of(line->substr(8))));
  child->say("connect " + hex_of(ours.address()));
  return child;
}

std::string order(const std::string& verb, TransferId id, std::size_t count = kBlocks) {
  return verb + " " + to_hex(id) + " " + std::to_string(count) + " " + std::to_string(kBytes) + " 1";
}

// The transport still does its work, with a fresh child.
void check_alive(KvTransport& ours) {
  auto child = connected_child(ours);
  Blocks to(3, kBytes, 77), from(3, kBytes, 1);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(ours.expect(id, to.expected(from), sink));
  child->say(order("send", id, 3));
  REQUIRE(sink->wait_landed(3));
  CHECK(to.equals(from));
  ours.close(id);
  REQUIRE(sink->wait_closed());
  child->say("quit");
  CHECK(child->wait() == 0);
  ours.disconnect("child");
}

}  // namespace

TEST_CASE("two processes: blocks from the registered pool arrive, and the link has a name") {
  Blocks from(20, kBytes, 1);
  UcxOptions options;
  options.pool = from.pool().data();
  options.pool_bytes = from.pool().size();
  auto ours = make_transport(options);
  auto child = connected_child(*ours);
  const TransferId id = new_transfer();
  child->say(order("expect", id, 20));
  REQUIRE(child->hear_until("expecting"));
  Dones dones;
  for (std::size_t i = 0; i < 20; ++i) ours->send("child", from.outgoing(id, i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 20);
  for (int i = 0; i < 20; ++i) {
    const auto line = child->hear_until("block ");
    REQUIRE(line);
    CHECK(line->ends_with(" ok"));
  }
  CHECK(ours->link("child") == "ucx/tcp");
  // And back into it.
  const TransferId back = new_transfer();
  Blocks expected(20, kBytes, 1);
  from.fill(std::byte{0});
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(ours->expect(back, from.expected(expected), sink));
  child->say(order("send", back, 20));
  REQUIRE(sink->wait_landed(20));
  CHECK(from.equals(expected));
  child->say("quit");
  CHECK(child->wait() == 0);
  ours->close(back);
  REQUIRE(sink->wait_closed());
}

TEST_CASE("kill -9 of the sender in mid-transfer") {
  auto ours = make_transport();
  auto child = connected_child(*ours, {"--pace"});
  Blocks to(kBlocks, kBytes, 2), from(kBlocks, kBytes, 1);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  sink->closed_hook = [&] { to.fill(kReused); };
  REQUIRE(ours->expect(id, to.expected(from), sink));
  child->say(order("send", id));
  REQUIRE(sink->wait_landed(3));
  child->signal(SIGKILL);
  child->wait();
  // UCX notices: what we send to it fails, whatever was queued before.
  Dones dones;
  const TransferId other = new_transfer();
  for (std::size_t i = 0; i < 4; ++i) ours->send("child", from.outgoing(other, i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 0);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  ours->close(id);  // no disconnect() needed: the connection is known to be dead
  REQUIRE(sink->wait_closed());
  CHECK(to.all(kReused));
  CHECK(ours->counters().in_flight == 0);
  check_alive(*ours);
}

TEST_CASE("kill -9 of the receiver in mid-transfer") {
  UcxOptions options;
  options.transport.faults = &pace();
  auto ours = make_transport(options);
  auto child = connected_child(*ours);
  Blocks from(kBlocks, kBytes, 1);
  const TransferId id = new_transfer();
  child->say(order("expect", id));
  REQUIRE(child->hear_until("expecting"));
  Dones dones;
  for (std::size_t i = 0; i < kBlocks; ++i) ours->send("child", from.outgoing(id, i), dones.next());
  REQUIRE(child->hear_until("block "));
  child->signal(SIGKILL);
  child->wait();
  REQUIRE(dones.wait_all());
  CHECK(dones.each_once());
  CHECK(dones.succeeded() < kBlocks);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  CHECK(ours->counters().in_flight == 0);
  check_alive(*ours);
}

TEST_CASE("a stopped sender is silent: disconnect cancels, and what it sends when it wakes lands nowhere") {
  auto ours = make_transport();
  for (int round = 0; round < 4; ++round) {
    auto child = connected_child(*ours);
    Blocks to(kBlocks, kBytes, 2), from(kBlocks, kBytes, 1);
    const TransferId id = new_transfer();
    auto sink = std::make_shared<RecordingSink>();
    sink->closed_hook = [&] { to.fill(kReused); };
    REQUIRE(ours->expect(id, to.expected(from), sink));
    child->say(order("send", id));
    REQUIRE(sink->wait_landed(static_cast<std::size_t>(2 + round)));
    child->signal(SIGSTOP);
    ours->close(id);
    ours->disconnect("child");
    REQUIRE(sink->wait_closed());
    CHECK(ours->counters().in_flight == 0);
    child->signal(SIGCONT);
    // It has to notice that it was cut off before it can be said that nothing more comes.
    while (const auto line = child->hear_until("sent "))
      if (line->starts_with("sent " + std::to_string(kBlocks - 1) + " ")) break;
    child->say("quit");
    CHECK(child->wait() == 0);
    CHECK(sink->closed() == 1);
    CHECK(sink->late() == 0);
    CHECK(to.all(kReused));
  }
  check_alive(*ours);
}

TEST_CASE("a stopped receiver: disconnect ends the sends; destruction does not wait for it") {
  const bool destroy = GENERATE(false, true);
  UcxOptions options;
  options.transport.faults = &pace();
  auto ours = make_transport(options);
  auto child = connected_child(*ours);
  Blocks from(kBlocks, kBytes, 1);
  const TransferId id = new_transfer();
  child->say(order("expect", id));
  REQUIRE(child->hear_until("expecting"));
  Dones dones;
  for (std::size_t i = 0; i < kBlocks; ++i) ours->send("child", from.outgoing(id, i), dones.next());
  REQUIRE(child->hear_until("block "));
  child->signal(SIGSTOP);
  if (destroy) {
    ours.reset();
  } else {
    ours->disconnect("child");
  }
  REQUIRE(dones.wait_all());
  CHECK(dones.each_once());
  CHECK(dones.succeeded() < kBlocks);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  child->signal(SIGCONT);
  if (!destroy) check_alive(*ours);
}

TEST_CASE("a connection to an address where nobody listens fails its sends") {
  auto ours = make_transport();
  std::vector<std::byte> address;
  {
    auto gone = make_transport();
    address = gone->address();
  }
  REQUIRE(ours->connect("child", address));
  Blocks from(2, kBytes, 1);
  Dones dones;
  for (std::size_t i = 0; i < 2; ++i) ours->send("child", from.outgoing(new_transfer(), i), dones.next());
  REQUIRE(dones.wait_all());
  CHECK(dones.succeeded() == 0);
  CHECK(dones.last_error() == ErrorCode::unavailable);
  check_alive(*ours);
}

namespace {

// A UCX client that knows where we listen and nothing else.
class RawClient {
 public:
  explicit RawClient(const transfer::UcxAddress& address) {
    ucp_config_t* config = nullptr;
    REQUIRE(ucp_config_read(nullptr, nullptr, &config) == UCS_OK);
    REQUIRE(ucp_config_modify(config, "TLS", "tcp") == UCS_OK);
    REQUIRE(ucp_config_modify(config, "NET_DEVICES", "lo") == UCS_OK);
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    REQUIRE(ucp_init(&params, config, &context_) == UCS_OK);
    ucp_config_release(config);
    ucp_worker_params_t worker_params{};
    REQUIRE(ucp_worker_create(context_, &worker_params, &worker_) == UCS_OK);
    const sockaddr_storage remote = transfer::to_sockaddr(address.candidates.at(0), address.port);
    ucp_ep_params_t ep_params{};
    ep_params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR |
                           UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    ep_params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    ep_params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    ep_params.err_handler = {[](void* failed, ucp_ep_h, ucs_status_t) { *static_cast<bool*>(failed) = true; },
                             &failed_};
    ep_params.sockaddr.addr = reinterpret_cast<const sockaddr*>(&remote);
    ep_params.sockaddr.addrlen = sizeof remote;
    REQUIRE(ucp_ep_create(worker_, &ep_params, &ep_) == UCS_OK);
  }
  ~RawClient() {
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    finish(ucp_ep_close_nbx(ep_, &param));
    for (int i = 0; i < 1000; ++i) ucp_worker_progress(worker_);
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }
  // True if the other side took the message, or politely let it go.
  bool send(std::span<const std::byte> header, std::span<const std::byte> bytes, unsigned flags) {
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = flags;
    return finish(ucp_am_send_nbx(ep_, 7, header.data(), header.size(), bytes.data(), bytes.size(), &param));
  }

 private:
  bool finish(ucs_status_ptr_t request) {
    if (!UCS_PTR_IS_PTR(request)) return request == nullptr;
    const auto limit = std::chrono::steady_clock::now() + kHang;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) {
      ucp_worker_progress(worker_);
      if (std::chrono::steady_clock::now() > limit) FAIL("a raw send hangs");
    }
    const ucs_status_t status = ucp_request_check_status(request);
    ucp_request_free(request);
    return status == UCS_OK;
  }

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h ep_ = nullptr;
  bool failed_ = false;
};

}  // namespace

TEST_CASE("garbage from a stranger is dropped, counted, and writes nothing") {
  auto ours = make_transport();
  auto address = transfer::parse_ucx_address(ours->address());
  REQUIRE(address);
  Blocks to(4, 100000, 5), from(4, 100000, 6);
  Blocks before = to;
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(ours->expect(id, to.expected(from), sink));
  std::mt19937_64 random(8);
  std::uint64_t messages = 0;
  {
    RawClient raw(*address);
    std::vector<std::byte> bytes(100000, std::byte{0x11});
    const unsigned kinds[] = {UCP_AM_SEND_FLAG_EAGER, UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY,
                              UCP_AM_SEND_FLAG_RNDV, UCP_AM_SEND_FLAG_RNDV | UCP_AM_SEND_FLAG_REPLY};
    for (int i = 0; i < 200; ++i) {
      const unsigned kind = kinds[i % 4];
      std::vector<std::byte> header(random() % 200);
      for (std::byte& byte : header) byte = static_cast<std::byte>(random());
      REQUIRE(raw.send(header, std::span(bytes).first(1 + random() % bytes.size()), kind));
      // A well-formed header with everything but the secret id.
      transfer::PartHeader part;
      part.transfer = {random(), random()};
      part.sender = {1, 1};
      part.hash = from.hash(i % 4u);
      part.index = static_cast<std::uint32_t>(i % 4);
      part.total_bytes = part.part_bytes = bytes.size();
      REQUIRE(raw.send(transfer::encode_part_header(part), bytes, kind));
      // The right id, and a length that is not what the header says.
      part.transfer = id;
      REQUIRE(raw.send(transfer::encode_part_header(part), std::span(bytes).first(50000), kind));
      messages += 3;
    }
    // The last eager ones may still be on their way.
    const auto limit = std::chrono::steady_clock::now() + kHang;
    while (ours->counters().dropped < messages && std::chrono::steady_clock::now() < limit) {
      REQUIRE(raw.send({}, {}, UCP_AM_SEND_FLAG_EAGER));
      ++messages;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  CHECK(ours->counters().dropped == messages);
  CHECK(sink->blocks_landed() == 0);
  CHECK(sink->failures() == 0);
  CHECK(std::ranges::equal(to.pool(), before.pool()));
  ours->close(id);
  REQUIRE(sink->wait_closed());
  check_alive(*ours);
}

TEST_CASE("addresses: parsing refuses, choosing prefers") {
  using namespace transfer;
  UcxAddress address;
  address.sender = {1, 2};
  address.machine = {3, 4};
  address.port = 5;
  const IpAddress loopback = *parse_ip("127.0.0.1"), near = *parse_ip("10.1.2.3"),
                  far = *parse_ip("192.0.2.7");
  address.candidates = {loopback, far, near, *parse_ip("2001:db8::1")};
  address.sources = {near, *parse_ip("2001:db8::2")};
  auto bytes = encode_ucx_address(address);
  const auto parsed = parse_ucx_address(bytes);
  REQUIRE(parsed);
  CHECK(parsed->sender == address.sender);
  CHECK(parsed->port == 5);
  CHECK(parsed->candidates == address.candidates);
  CHECK(parsed->sources == address.sources);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK_FALSE(parse_ucx_address(std::span(bytes).first(length)));
  std::mt19937 random(9);
  for (int i = 0; i < 2000; ++i) {
    auto changed = bytes;
    changed[random() % changed.size()] = static_cast<std::byte>(random());
    (void)parse_ucx_address(changed);
  }
  const std::vector<Interface> ours{{"lo", loopback, 8, true}, {"eth0", *parse_ip("10.1.9.9"), 16, false}};
  CHECK(choose_candidate(address, {3, 4}, ours, 4) == loopback);
  CHECK(choose_candidate(address, {3, 5}, ours, 4) == near);
  CHECK(choose_candidate(address, {3, 5}, {}, 4) == far);
  CHECK(choose_candidate(address, {3, 4}, ours, 6) == *parse_ip("2001:db8::1"));
  address.candidates = {loopback};
  CHECK_FALSE(choose_candidate(address, {3, 5}, ours, 4));
  CHECK_FALSE(choose_candidate(address, {3, 4}, ours, 6));
}

namespace {

// Whether a plain TCP connection to this address comes about in time.
bool connects(const transfer::IpAddress& address, std::uint16_t port, std::chrono::milliseconds limit) {
  const sockaddr_storage to = transfer::to_sockaddr(address, port);
  const int fd = ::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  (void)::connect(fd, reinterpret_cast<const sockaddr*>(&to),
                  to.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
  pollfd poll{fd, POLLOUT, 0};
  const bool ready = ::poll(&poll, 1, static_cast<int>(limit.count())) == 1;
  int error = 0;
  socklen_t bytes = sizeof error;
  (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
  ::close(fd);
  return ready && error == 0;
}

}  // namespace

TEST_CASE("strangers on the network do not reach UCX's ports") {
  using namespace transfer;
  const auto interfaces = local_interfaces();
  const auto outside = std::ranges::find_if(
      interfaces, [](const Interface& i) { return !i.loopback && i.address.family == 4; });
  if (outside == interfaces.end()) {
    WARN("this machine has no interface but loopback");
    return;
  }
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, outside->address.bytes.data(), text.data(), text.size());
  const auto make = [&] {
    UcxOptions options;
    options.transport.interface_address = text.data();
    auto made = make_ucx_transport(options, null_logger());
    if (!made) FAIL(made.error().message);
    return std::move(*made);
  };
  constexpr std::chrono::milliseconds kBlocked{500};  // nobody answers: any wait will do
  const auto before = SourceFilter::listening_sockets();
  auto ours = make();
  std::vector<std::uint16_t> ports;
  for (const int fd : SourceFilter::listening_sockets())
    if (!before.contains(fd)) ports.push_back(local_port(fd));
  REQUIRE(ports.size() >= 2);  // the connection manager's and the interface's
  for (const std::uint16_t port : ports) CHECK_FALSE(connects(outside->address, port, kBlocked));
  // A peer that proved itself: what it sends arrives, although its first attempt may have come too early.
  auto peer = make();
  REQUIRE(ours->connect("peer", peer->address()));
  REQUIRE(peer->connect("ours", ours->address()));
  Blocks from(3, kBytes, 1), to(3, kBytes, 2);
  const TransferId id = new_transfer();
  auto sink = std::make_shared<RecordingSink>();
  REQUIRE(ours->expect(id, to.expected(from), sink));
  Dones dones;
  for (std::size_t i = 0; i < from.size(); ++i) peer->send("ours", from.outgoing(id, i), dones.next());
  REQUIRE(sink->wait_landed(3));
  REQUIRE(dones.wait_all());
  CHECK(to.equals(from));
  for (const std::uint16_t port : ports) CHECK(connects(outside->address, port, kHang));
  ours->disconnect("peer");
  const auto limit = std::chrono::steady_clock::now() + kHang;
  while (connects(outside->address, ports.front(), kBlocked) && std::chrono::steady_clock::now() < limit) {
  }
  for (const std::uint16_t port : ports) CHECK_FALSE(connects(outside->address, port, kBlocked));
}

TEST_CASE("what UCX says about itself") {
  CHECK(ucx_version().starts_with("1."));
  const auto resources = list_ucx_resources();
  REQUIRE(resources);
  CHECK(std::ranges::any_of(*resources, [](const UcxResource& r) { return r.transport == "tcp"; }));
  UcxOptions options;
  options.settings["RNDV_SCHEME"] = "no such scheme";
  const auto refused = make_ucx_transport(options, null_logger());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().field == "RNDV_SCHEME");
  options.settings.clear();
  options.transport.interface_address = "not an address";
  CHECK_FALSE(make_ucx_transport(options, null_logger()));
  CHECK(transfer::link_name_of("#  lane[0]: 0:tcp/lo.0 md[0] -> addr[0] am am_bw#0\n# lane[1]: cm tcp\n") ==
        "tcp");
  CHECK(transfer::link_name_of("# lane[0]: 3:rc_mlx5/mlx5_0:1.0 md[1] -> md[1]/ib rma_bw#0 am\n") ==
        "rc_mlx5");
  CHECK(transfer::link_name_of("nothing").empty());
}
