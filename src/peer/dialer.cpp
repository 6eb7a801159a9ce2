// One coroutine for each address: resolve, connect, hand the connection over, wait for its end, again.
//
// Names are resolved at each attempt. A dialer rests while the node that answers at its address is connected,
// whoever dialed. It ends where that node is this very one (its entry stays, so that the address is not tried
// again), and soon after its address is gone; a connection that it made lives on.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "baton/peer/resolve.hpp"
#include "peer/mesh_state.hpp"

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

void PeerMesh::State::set_peers(const std::vector<std::string>& addresses) {
  if (stopping) return;
  std::set<std::string> wanted;  // in canonical form
  std::vector<std::unique_ptr<Dialer>> fresh;
  for (const std::string& text : addresses) {
    auto address = parse_host_port(text);
    if (!address || address->port == 0) {
      logger.warn("a peer's address is no host:port: left out", {{"address", text}});
    } else if (wanted.insert(to_string(*address)).second) {
      fresh.push_back(std::make_unique<Dialer>(io, *std::move(address), text));
    }
  }
  std::vector<Dialer*> begun;
  {
    std::lock_guard lock(mutex);
    std::set<std::string> dialed;
    for (const auto& dialer : dialers) {
      if (dialer->unwanted) continue;  // on its way out: where its address is back, a new one takes it
      const std::string address = to_string(dialer->address);
      dialer->unwanted = !wanted.contains(address);
      if (dialer->unwanted)
        dialer->wake.cancel();
      else
        dialed.insert(address);
    }
    for (auto& dialer : fresh) {
      if (dialed.contains(to_string(dialer->address))) continue;
      begun.push_back(dialer.get());
      dialers.push_back(std::move(dialer));
    }
  }
  forget_ended_dialers();
  for (Dialer* dialer : begun) run_dialer(*dialer);
}

void PeerMesh::State::run_dialer(Dialer& dialer) {
  ++dialing;
  asio::co_spawn(io, dial(dialer), [this, &dialer](std::exception_ptr exception) {
    if (exception) logger.error("a dialer of peers ended by an exception");
    --dialing;
    dialer.running = false;
    forget_ended_dialers();
    finish_if_idle();
  });
}

void PeerMesh::State::forget_ended_dialers() {
  std::lock_guard lock(mutex);
  std::erase_if(dialers, [](const auto& dialer) { return dialer->unwanted && !dialer->running; });
}

asio::awaitable<void> PeerMesh::State::dial(Dialer& dialer) {
  dialer.backoff = kFirstBackoff;
  while (!stopping && !dialer.unwanted) {
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
      while (!connection->closed() && !dialer.unwanted) {
        dialer.wake.expires_at(TimePoint::max());
        co_await dialer.wake.async_wait(kAwait);
      }
      dialer.connection = nullptr;
      if (stopping || dialer.unwanted) co_return;
      if (connection->fault() == HandshakeFault::self) {
        logger.info("a peer's address is this node itself: left out",
                    {{"address", to_string(dialer.address)}});
        std::lock_guard lock(mutex);
        dialer.is_self = true;
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
  while (!stopping && !dialer.unwanted && now() < until) {
    dialer.wake.expires_at(until);
    co_await dialer.wake.async_wait(kAwait);
  }
}

void PeerMesh::State::note_problem(Dialer& dialer, const std::string& problem) {
  {
    std::lock_guard lock(mutex);
    if (!dialer.link.connected && dialer.link.problem == problem) return;  // said already
  }
  set_link(dialer, false, problem);
  logger.warn("no connection to a peer; trying again",
              {{"address", to_string(dialer.address)}, {"peer", dialer.name}, {"why", problem}});
}

void PeerMesh::State::wake_dialers() {
  for (const auto& dialer : dialers) dialer->wake.cancel();
}

void PeerMesh::State::set_link(Dialer& dialer, bool up, const std::string& problem) {
  std::lock_guard lock(mutex);
  dialer.link.name = dialer.name;
  dialer.link.connected = up;
  dialer.link.problem = problem;
}

}  // namespace baton
