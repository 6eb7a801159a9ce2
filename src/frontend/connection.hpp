// One connection, plain or TLS, with deadlines: an always-running reader into a bounded inbox, writes that
// give up on a client that stops reading, and one place to wait for "something happened".
//
// The reader never stops between requests, so that a client's disconnect is seen while its answer is being
// computed; what it pipelines meanwhile waits in the inbox. Invariant: everything runs on the socket's
// strand. Held by shared_ptr because pending operations keep it alive.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "baton/base/clock.hpp"
#include "frontend/byte_stream.hpp"

namespace baton::frontend {

struct TlsContext;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Duration write_timeout);

  // TLS from here on, before anything is read. `not_tls`: the client's first byte begins no handshake, and
  // the connection is still a plain one, to say so; `failed`: it is over. Takes at most `timeout`.
  enum class Secured { ready, not_tls, failed };
  boost::asio::awaitable<Secured> secure(std::shared_ptr<TlsContext> context, Duration timeout);

  // Received bytes, to be consumed from the front.
  std::string& inbox() { return inbox_; }
  // Reads on unless a read is pending, the peer is gone or the inbox is full: call after consuming.
  void read_ahead();
  bool peer_gone() const { return peer_gone_; }
  // Called once, when the peer closes or resets.
  void on_peer_gone(std::function<void()> callback) { on_peer_gone_ = std::move(callback); }

  enum class Wake { signalled, timed_out };
  // Until signal(), new bytes, the peer's end, or the deadline. May wake for nothing.
  boost::asio::awaitable<Wake> wait(TimePoint deadline);
  void signal();

  // False where the peer is gone or took nothing for write_timeout. `data` must outlive the call.
  boost::asio::awaitable<bool> write(std::string_view data);

  // Says "no more", then reads and drops what still comes for a moment, so that the client gets to read the
  // last answer instead of a reset.
  boost::asio::awaitable<void> close_gently();
  void abort();

  boost::asio::any_io_executor executor() { return executor_; }

 private:
  void on_read(const boost::system::error_code& error, std::size_t n);
  // What is not done by then ends with the connection.
  void begin_limited(Duration timeout);
  void end_limited();

  const boost::asio::any_io_executor executor_;
  std::unique_ptr<ByteStream> stream_;
  boost::asio::steady_timer wake_timer_;
  boost::asio::steady_timer limit_timer_;
  const Duration write_timeout_;
  std::array<char, 8192> read_buffer_;
  std::string inbox_;
  std::function<void()> on_peer_gone_;
  bool reading_ = false;
  bool peer_gone_ = false;
  bool signalled_ = false;
  bool limit_passed_ = false;
  std::uint64_t limit_serial_ = 0;  // tells a late timer from a current one
};

}  // namespace baton::frontend
