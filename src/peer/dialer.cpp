// One coroutine for each configured peer: resolve, connect, hand the connection over, wait for its end,
// again.
//
// Names are resolved at each attempt. A dialer rests while the node that answers at its address is connected,
// whoever dialed, and ends where that node is this very one.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "peer/mesh_state.hpp"
#include "peer/resolve.hpp"

namespace baton {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using peer::ConnectionPtr;
using peer::Handshake;
using peer::HandshakeFault;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr Duration kFirstBackoff = std::chrono::milliseconds(100);
constexpr Duration kLastBackoff = std::chrono::seconds(3);

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

asio::awaitable<void> PeerMesh::State::dial(Dialer& dialer) {
  dialer.backoff = kFirstBackoff;
  while (!stopping) {
    if (!dialer.name.empty() && find(dialer.name)) {
      set_link(dialer, true, {});
      dialer.wake.expires_at(TimePoint::max());
      co_await dialer.wake.async_wait(kAwait);
      continue;
    }
    auto attempt = co_await connect(dialer.address);
    if (stopping) co_return;
    std::string problem;
    if (attempt) {
      const ConnectionPtr connection = *std::move(attempt);
      dialer.connection = connection;
      connection->start();
      while (!connection->closed()) {
        dialer.wake.expires_at(TimePoint::max());
        co_await dialer.wake.async_wait(kAwait);
      }
      dialer.connection = nullptr;
      if (stopping) co_return;
      if (connection->fault() == HandshakeFault::self) {
        logger.info("a configured peer is this node itself: left out",
                    {{"address", to_string(dialer.address)}});
        std::lock_guard lock(mutex);
        links[dialer.index].reset();
        co_return;
      }
      if (connection->knows_peer()) dialer.name = connection->peer().node.name;
      if (!connection->fault()) dialer.backoff = kFirstBackoff;  // it was in use
      problem = connection->why().message;
    } else {
      problem = attempt.error().message;
    }
    if (!dialer.name.empty() && find(dialer.name)) continue;
    note_problem(dialer, problem);
    co_await sleep(dialer, dialer.backoff);
    dialer.backoff = std::min(dialer.backoff * 2, kLastBackoff);
  }
}

asio::awaitable<Result<ConnectionPtr>> PeerMesh::State::connect(const HostPort& address) {
  const auto endpoints = co_await peer::resolve(address, options.handshake_timeout);
  if (!endpoints) co_return endpoints.error();
  const Duration each = options.handshake_timeout / endpoints->size();
  std::string problem = "cannot connect";
  for (const tcp::endpoint& endpoint : *endpoints) {
    if (stopping) break;
    // Shared with the timer's handler, which may already be queued when the attempt ends.
    const auto socket = std::make_shared<tcp::socket>(io);
    asio::steady_timer limit(io, each);
    limit.async_wait([socket](boost::system::error_code error) {
      boost::system::error_code ignored;
      if (!error) socket->close(ignored);
    });
    const auto [error] = co_await socket->async_connect(endpoint, kAwait);
    limit.cancel();
    if (error) {
      problem = error == asio::error::operation_aborted ? "no answer" : error.message();
      continue;
    }
    boost::system::error_code gone;
    // Linux may connect a socket to itself where nobody listens on an ephemeral port (simultaneous open).
    if (!socket->is_open() || socket->local_endpoint(gone) == endpoint) {
      problem = "nobody listens there";
      continue;
    }
    if (auto connection = adopt(std::move(*socket), Handshake::Side::dialer)) co_return connection;
  }
  co_return make_error(ErrorCode::unavailable, problem);
}

asio::awaitable<void> PeerMesh::State::sleep(Dialer& dialer, Duration duration) {
  // Somewhere in the second half, so that many nodes do not dial a restarted one in step.
  const std::int64_t half = duration.count() / 2;
  const Duration drawn(half + std::uniform_int_distribution<std::int64_t>(0, half)(jitter));
  const TimePoint until = now() + drawn;
  while (!stopping && now() < until) {
    dialer.wake.expires_at(until);
    co_await dialer.wake.async_wait(kAwait);
  }
}

void PeerMesh::State::note_problem(Dialer& dialer, const std::string& problem) {
  {
    std::lock_guard lock(mutex);
    const auto& link = links[dialer.index];
    if (link && !link->connected && link->problem == problem) return;  // said already
  }
  set_link(dialer, false, problem);
  logger.warn("no connection to a configured peer; trying again",
              {{"address", to_string(dialer.address)}, {"peer", dialer.name}, {"why", problem}});
}

void PeerMesh::State::wake_dialers() {
  for (const auto& dialer : dialers) dialer->wake.cancel();
}

void PeerMesh::State::set_link(const Dialer& dialer, bool up, const std::string& problem) {
  std::lock_guard lock(mutex);
  auto& link = links[dialer.index];
  if (!link) return;
  link->name = dialer.name;
  link->connected = up;
  link->problem = problem;
}

}  // namespace baton
