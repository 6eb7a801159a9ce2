// What a PeerMesh owns. Split over mesh.cpp (life, sending, heartbeats), arbitration.cpp (which connection to
// a node is used) and dialer.cpp.
//
// One thread runs `io`; everything here belongs to it except what is marked. With one thread no strand is
// needed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "baton/peer/address.hpp"
#include "baton/peer/mesh.hpp"
#include "peer/connection.hpp"

namespace baton {

struct PeerMesh::State final : peer::ConnectionOwner {
  struct Dialer {
    Dialer(boost::asio::io_context& context, HostPort to, std::string as_given)
        : address(std::move(to)), link{std::move(as_given), {}, false, "not tried yet"}, wake(context) {}
    HostPort address;
    std::string name;  // of who answers there, once known
    peer::ConnectionPtr connection;
    Duration backoff{0};
    bool running = true;    // its coroutine has not ended
    bool unwanted = false;  // its address is gone: ends at its next step [guarded]
    bool is_self = false;   // this node itself answers there [guarded]
    PeerLink link;          // [guarded]
    boost::asio::steady_timer wake;
  };
  // Introduced connections to one node, on the side that offers: one offer at a time, so that the other side,
  // on an offer, knows that any connection it still holds to us is dead.
  struct Candidates {
    peer::ConnectionPtr offered;
    std::deque<peer::ConnectionPtr> waiting;
  };

  State(MeshOptions options, NodeInfo self, PeerEvents& events, Logger& logger, MetricsRegistry& metrics);

  // mesh.cpp
  Result<std::uint16_t> start();
  Result<void> listen();
  void stop();
  void shut_down();       // on the io thread
  void finish_if_idle();  // ends the io thread once nothing is left to do
  void run();
  boost::asio::awaitable<void> accept_connections();
  boost::asio::awaitable<void> send_heartbeats();
  boost::asio::awaitable<void> watch_silence();
  peer::ConnectionPtr adopt(boost::asio::ip::tcp::socket socket,
                            peer::Handshake::Side side);    // null: no randomness
  peer::Payload encode(const Message& message);             // any thread; null: refused
  peer::ConnectionPtr find(const std::string& name) const;  // any thread
  std::vector<peer::ConnectionPtr> all_in_use() const;      // any thread

  // arbitration.cpp
  void on_introduced(const peer::ConnectionPtr& connection) override;
  void on_offered(const peer::ConnectionPtr& connection) override;
  void on_accepted(const peer::ConnectionPtr& connection) override;
  void on_received(const peer::ConnectionPtr& connection, Message message) override;
  void on_closed(const peer::ConnectionPtr& connection) override;
  void put_in_use(const peer::ConnectionPtr& connection);
  void replace(const peer::ConnectionPtr& old, const peer::ConnectionPtr& by);
  void offer_next(const std::string& name);
  void forget_candidate(const peer::ConnectionPtr& connection);
  void report_failure(const peer::Connection& connection);

  // dialer.cpp
  void set_peers(const std::vector<std::string>& addresses);
  void run_dialer(Dialer& dialer);
  void forget_ended_dialers();
  boost::asio::awaitable<void> dial(Dialer& dialer);
  boost::asio::awaitable<Result<peer::ConnectionPtr>> connect(const HostPort& address);
  boost::asio::awaitable<void> sleep(Dialer& dialer, Duration duration);
  void note_problem(Dialer& dialer, const std::string& problem);
  void wake_dialers();
  void set_link(Dialer& dialer, bool connected, const std::string& problem);

  boost::asio::io_context io{1};  // first: outlives every socket
  const MeshOptions options;
  PeerEvents& events;
  Logger& logger;
  MetricsRegistry& metrics;
  peer::HandshakeIdentity identity;
  peer::PeerCounters counters;
  Gauge& connected;
  const peer::Connection::Setup setup;

  boost::asio::ip::tcp::acceptor acceptor;
  boost::asio::steady_timer heartbeat_timer;
  boost::asio::steady_timer silence_timer;
  boost::asio::steady_timer grace_timer;
  std::set<peer::ConnectionPtr> connections;  // all that are not closed
  std::deque<peer::ConnectionPtr> unproven;   // inbound, oldest first
  std::map<std::string, Candidates> candidates;
  std::size_t dialing = 0;  // dialers whose coroutine runs
  bool stopping = false;
  std::minstd_rand jitter;
  TimePoint next_failure_log{};
  std::uint64_t unlogged_failures = 0;

  // Guards the next two and what is marked so in Dialer: only the io thread changes them, any thread reads.
  mutable std::mutex mutex;
  std::map<std::string, peer::ConnectionPtr> in_use;  // by node name
  std::vector<std::unique_ptr<Dialer>> dialers;       // each until its coroutine has ended

  std::mutex life;  // start and stop
  bool started = false;
  std::thread thread;
};

}  // namespace baton
