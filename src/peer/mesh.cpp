// PeerMesh's life: listening, heartbeats, silence, sending, stopping.
#include "baton/peer/mesh.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "baton/peer/resolve.hpp"
#include "peer/mesh_state.hpp"
#include "peer/message_codec.hpp"

namespace baton {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using peer::ConnectionPtr;
using peer::Handshake;
using peer::HandshakeFault;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxUnproven = 64;
constexpr Duration kGrace = std::chrono::milliseconds(300);  // for goodbyes

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

PeerMesh::State::State(MeshOptions given, NodeInfo self, PeerEvents& e, Logger& l, MetricsRegistry& m)
    : options(std::move(given)),
      events(e),
      logger(l),
      metrics(m),
      identity{options.secret, {std::move(self), {}}, kPeerProtocol},
      counters(m),
      connected(m.gauge("baton_peer_connected", "Peers with a control stream")),
      setup{*this, options, identity, counters},
      acceptor(io),
      heartbeat_timer(io),
      silence_timer(io),
      grace_timer(io) {}

Result<std::uint16_t> PeerMesh::State::start() {
  std::lock_guard lock(life);
  if (started) return make_error(ErrorCode::internal, "PeerMesh::start was called twice");
  if (options.heartbeat <= Duration(0) || options.silence <= options.heartbeat) {
    return make_error(ErrorCode::invalid_argument, "silence must be longer than heartbeat, and both positive",
                      "silence");
  }
  if (identity.self.node.name.empty())
    return make_error(ErrorCode::invalid_argument, "a node needs a name", "name");
  if (peer::encode_introduction(identity.self).size() + peer::kFrameOverhead > peer::kMaxIntroductionBytes) {
    return make_error(ErrorCode::too_large, "this node's introduction is larger than a handshake allows",
                      "self");
  }
  std::uint32_t seed = 0;
  if (!peer::fill_random(std::as_writable_bytes(std::span(&identity.self.instance, 1))) ||
      !peer::fill_random(std::as_writable_bytes(std::span(&seed, 1)))) {
    return make_error(ErrorCode::io, "the system has no randomness to give");
  }
  jitter.seed(seed);
  for (const std::string& text : options.peers) {
    const auto address = parse_host_port(text);
    if (!address) return make_error(ErrorCode::invalid_argument, "peer " + address.error().message, "peers");
    if (address->port == 0)
      return make_error(ErrorCode::invalid_argument, "peer '" + text + "': port 0", "peers");
  }
  if (auto listening = listen(); !listening) return listening.error();

  const std::uint16_t port = acceptor.local_endpoint().port();
  asio::co_spawn(io, accept_connections(), asio::detached);
  asio::co_spawn(io, send_heartbeats(), asio::detached);
  asio::co_spawn(io, watch_silence(), asio::detached);
  set_peers(options.peers);
  started = true;
  thread = std::thread([this] { run(); });
  return port;
}

Result<void> PeerMesh::State::listen() {
  const HostPort address{options.listen_host, options.listen_port};
  const auto failed = [&](const std::string& why) {
    return make_error(ErrorCode::io, "cannot listen on " + to_string(address) + ": " + why, "peer_listen");
  };
  const auto endpoints = peer::resolve_now(address);
  if (!endpoints) return failed(endpoints.error().message);
  boost::system::error_code error;
  const tcp::endpoint& endpoint = endpoints->front();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return {};
  boost::system::error_code ignored;
  acceptor.close(ignored);
  return failed(error.message());
}

void PeerMesh::State::run() {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception& e) {  // a callback of ours, or of the owner: the other peers live on
      logger.error("exception on the peer io thread", {{"what", e.what()}});
    } catch (...) {
      logger.error("exception on the peer io thread");
    }
  }
}

void PeerMesh::State::stop() {
  std::lock_guard lock(life);
  if (!thread.joinable()) return;
  asio::post(io, [this] { shut_down(); });
  thread.join();
}

void PeerMesh::State::shut_down() {
  stopping = true;
  boost::system::error_code ignored;
  acceptor.close(ignored);
  heartbeat_timer.cancel();
  silence_timer.cancel();
  {
    std::lock_guard lock(mutex);
    in_use.clear();
    connected.set(0);
  }
  wake_dialers();
  const std::vector<ConnectionPtr> open(connections.begin(), connections.end());
  for (const ConnectionPtr& connection : open) connection->goodbye();
  grace_timer.expires_after(kGrace);
  grace_timer.async_wait([this](boost::system::error_code error) {
    if (error) return;
    const std::vector<ConnectionPtr> left(connections.begin(), connections.end());
    for (const ConnectionPtr& connection : left) connection->close({});
    io.stop();  // whoever still waits (a name lookup) is dropped with the io_context
  });
  finish_if_idle();
}

void PeerMesh::State::finish_if_idle() {
  if (stopping && connections.empty() && dialing == 0) grace_timer.cancel();
}

asio::awaitable<void> PeerMesh::State::accept_connections() {
  while (!stopping) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (stopping) co_return;
    if (error) {  // out of file descriptors: the backlog keeps the others
      logger.warn("cannot accept a peer's connection", {{"why", error.message()}});
      asio::steady_timer pause(io, std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (unproven.size() >=
        kMaxUnproven) {  // honest ones take milliseconds, so the oldest is the least likely one
      const ConnectionPtr oldest = unproven.front();
      oldest->close(make_error(ErrorCode::overloaded, "too many unproven connections"),
                    HandshakeFault::crowded);
    }
    if (const ConnectionPtr connection = adopt(std::move(socket), Handshake::Side::listener)) {
      unproven.push_back(connection);
      connection->start();
    }
  }
}

ConnectionPtr PeerMesh::State::adopt(tcp::socket socket, Handshake::Side side) {
  peer::Nonce nonce{};
  if (!peer::fill_random(nonce)) {
    logger.error("the system has no randomness to give: no handshake with a peer is possible");
    return nullptr;
  }
  auto connection = std::make_shared<peer::Connection>(setup, std::move(socket), side, nonce);
  connections.insert(connection);
  return connection;
}

asio::awaitable<void> PeerMesh::State::send_heartbeats() {
  while (!stopping) {
    heartbeat_timer.expires_after(options.heartbeat);
    co_await heartbeat_timer.async_wait(kAwait);
    if (stopping) co_return;
    const std::vector<ConnectionPtr> receivers = all_in_use();
    if (receivers.empty()) continue;
    const peer::Payload status = encode(events.on_heartbeat());
    for (const ConnectionPtr& connection : receivers) {
      if (status) connection->send(status);
    }
  }
}

asio::awaitable<void> PeerMesh::State::watch_silence() {
  const Duration interval =
      std::clamp<Duration>(options.silence / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(250));
  while (!stopping) {
    silence_timer.expires_after(interval);
    co_await silence_timer.async_wait(kAwait);
    if (stopping) co_return;
    // Where we ourselves were held up, what the peers sent meanwhile is read first.
    if (now() - silence_timer.expiry() > interval) continue;
    for (const ConnectionPtr& connection : all_in_use()) {
      const Duration quiet = now() - connection->last_heard();
      if (quiet <= options.silence) continue;
      connection->close(
          make_error(ErrorCode::unavailable,
                     "silent for " + std::to_string(static_cast<int>(to_milliseconds(quiet))) + " ms"));
    }
  }
}

peer::Payload PeerMesh::State::encode(const Message& message) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  auto encoded = peer::append_message(*bytes, message, now());
  if (encoded && bytes->size() + peer::kFrameOverhead > options.max_frame_bytes) {
    encoded =
        make_error(ErrorCode::too_large, "larger than a frame: " + std::to_string(bytes->size()) + " bytes");
  }
  if (encoded) return bytes;
  logger.error("a control message was not sent", {{"why", encoded.error().message}});
  return nullptr;
}

ConnectionPtr PeerMesh::State::find(const std::string& name) const {
  std::lock_guard lock(mutex);
  const auto found = in_use.find(name);
  return found == in_use.end() ? nullptr : found->second;
}

std::vector<ConnectionPtr> PeerMesh::State::all_in_use() const {
  std::lock_guard lock(mutex);
  std::vector<ConnectionPtr> out;
  out.reserve(in_use.size());
  for (const auto& [name, connection] : in_use) out.push_back(connection);
  return out;
}

PeerMesh::PeerMesh(MeshOptions options, NodeInfo self, PeerEvents& events, Logger& logger,
                   MetricsRegistry& metrics)
    : state_(std::make_unique<State>(std::move(options), std::move(self), events, logger, metrics)) {}

PeerMesh::~PeerMesh() { stop(); }

Result<std::uint16_t> PeerMesh::start() { return state_->start(); }
void PeerMesh::stop() { state_->stop(); }

bool PeerMesh::send(const std::string& peer, const Message& message) {
  const ConnectionPtr connection = state_->find(peer);
  if (!connection) return false;
  peer::Payload payload = state_->encode(message);
  return payload && connection->send(std::move(payload));
}

void PeerMesh::broadcast(const Message& message) {
  const std::vector<ConnectionPtr> receivers = state_->all_in_use();
  if (receivers.empty()) return;
  const peer::Payload payload = state_->encode(message);
  if (!payload) return;
  for (const ConnectionPtr& connection : receivers) connection->send(payload);
}

void PeerMesh::set_peers(std::vector<std::string> addresses) {
  asio::post(state_->io, [state = state_.get(), wanted = std::move(addresses)] { state->set_peers(wanted); });
}

std::vector<NodeInfo> PeerMesh::peers() const {
  std::vector<NodeInfo> out;
  for (const ConnectionPtr& connection : state_->all_in_use()) out.push_back(connection->peer().node);
  return out;
}

std::vector<PeerLink> PeerMesh::links() const {
  std::lock_guard lock(state_->mutex);
  std::vector<PeerLink> out;
  for (const auto& dialer : state_->dialers) {
    if (!dialer->unwanted && !dialer->is_self) out.push_back(dialer->link);
  }
  return out;
}

}  // namespace baton
