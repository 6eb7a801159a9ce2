// One TCP connection to another daemon, from the first byte of the handshake to its end.
//
// It knows bytes, frames and its own state; which connection to a node is used is its owner's decision. All
// members belong to the io thread, except send(). Invariant: the owner hears `closed` exactly once, and
// nothing after it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/metrics.hpp"
#include "baton/peer/mesh.hpp"
#include "peer/handshake.hpp"
#include "peer/outbox.hpp"

namespace baton::peer {

class Connection;
using ConnectionPtr = std::shared_ptr<Connection>;  // shared by its coroutine, its owner and its senders

class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual void on_introduced(const ConnectionPtr& connection) = 0;  // proven, compatible; not yet used
  virtual void on_offered(const ConnectionPtr& connection) = 0;
  virtual void on_accepted(const ConnectionPtr& connection) = 0;
  virtual void on_received(const ConnectionPtr& connection, Message message) = 0;
  virtual void on_closed(const ConnectionPtr& connection) = 0;  // why() and fault() say why
};

struct PeerCounters {
  explicit PeerCounters(MetricsRegistry& metrics);
  Counter& messages_in;
  Counter& messages_out;
  Counter& bytes_in;
  Counter& bytes_out;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Setup {  // what all connections of a mesh share; outlives them
    ConnectionOwner& owner;
    const MeshOptions& options;
    const HandshakeIdentity& identity;
    PeerCounters& counters;
  };
  Connection(const Setup& setup, boost::asio::ip::tcp::socket socket, Handshake::Side side,
             const Nonce& nonce);

  void start();
  void offer();   // after on_introduced
  void use();     // from now on messages travel; the handshake's deadline ends
  void accept();  // tells the other side, then use()
  void refuse(HandshakeFault fault, Error why);
  void goodbye();  // tells the other side, then closes once that is written
  void close(Error why, std::optional<HandshakeFault> fault = std::nullopt);  // at once; idempotent

  // From any thread, never blocks. False: closed, or just now dropped as too slow.
  bool send(Payload message);

  const std::string& remote() const { return remote_; }  // address, for people
  Handshake::Side side() const { return side_; }
  const Introduction& peer() const { return peer_; }  // valid where knows_peer()
  bool knows_peer() const { return knows_peer_; }
  bool in_use() const { return stage_ == Stage::used; }
  bool closed() const { return stage_ == Stage::closed; }
  TimePoint last_heard() const { return last_heard_; }
  const Error& why() const { return why_; }
  std::optional<HandshakeFault> fault() const { return fault_; }

 private:
  enum class Stage : std::uint8_t { handshake, introduced, used, leaving, closed };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<bool> shake_hands();
  boost::asio::awaitable<bool> read_more();
  boost::asio::awaitable<void> leave();  // reads on, so that the other side gets what we wrote last
  bool handle_frames();                  // false: this connection is over
  bool handle(const Frame& frame);
  bool push(FrameKind kind, Payload payload);
  void leave_with(FrameKind kind, std::vector<std::byte> payload);
  void flush(std::size_t written);
  void set_deadline(Duration left);

  const Setup& setup_;
  boost::asio::ip::tcp::socket socket_;
  const Handshake::Side side_;
  std::string remote_;
  boost::asio::steady_timer deadline_;
  Handshake handshake_;
  Introduction peer_;
  bool knows_peer_ = false;
  std::optional<FrameSealer> sealer_;
  std::optional<FrameOpener> opener_;
  Stage stage_ = Stage::handshake;
  TimePoint last_heard_{};
  Error why_;
  std::optional<HandshakeFault> fault_;

  std::vector<std::byte> input_;  // [input_begin_, input_end_) is received and not yet handled
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;

  Outbox outbox_;
  std::vector<std::byte> writing_;
};

}  // namespace baton::peer
