#include "frontend/connection.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "frontend/tls.hpp"

namespace baton::frontend {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kInboxLimit = 64 * 1024;
constexpr Duration kLinger = std::chrono::seconds(2);
constexpr char kTlsHandshake = 0x16;  // the record type that every TLS connection begins with (RFC 8446, 5.1)

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, Duration write_timeout)
    : executor_(socket.get_executor()),
      stream_(make_plain_stream(std::move(socket))),
      wake_timer_(executor_),
      limit_timer_(executor_),
      write_timeout_(write_timeout) {
  error_code ignored;
  stream_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  // hosts that vanish without a word
  stream_->socket().set_option(asio::socket_base::keep_alive(true), ignored);
}

asio::awaitable<Connection::Secured> Connection::secure(std::shared_ptr<TlsContext> context,
                                                        Duration timeout) {
  error_code error;
  begin_limited(timeout);
  co_await stream_->socket().async_wait(asio::ip::tcp::socket::wait_read,
                                        asio::redirect_error(asio::use_awaitable, error));
  char first = 0;
  if (!error) {
    stream_->socket().receive(asio::buffer(&first, 1), asio::ip::tcp::socket::message_peek, error);
  }
  Secured secured = Secured::failed;
  if (!error && first != kTlsHandshake) {
    secured = Secured::not_tls;
  } else if (!error) {
    co_await tls_handshake(stream_, std::move(context), error);
    if (!error) secured = Secured::ready;
  }
  end_limited();
  co_return limit_passed_ ? Secured::failed : secured;
}

void Connection::read_ahead() {
  if (reading_ || peer_gone_ || inbox_.size() >= kInboxLimit) return;
  reading_ = true;
  stream_->read_some(read_buffer_, [self = shared_from_this()](const error_code& error, std::size_t n) {
    self->on_read(error, n);
  });
}

void Connection::on_read(const error_code& error, std::size_t n) {
  reading_ = false;
  if (error) {
    peer_gone_ = true;
    if (auto callback = std::exchange(on_peer_gone_, nullptr)) callback();
  } else {
    inbox_.append(read_buffer_.data(), n);
    read_ahead();
  }
  signal();
}

asio::awaitable<Connection::Wake> Connection::wait(TimePoint deadline) {
  if (!signalled_) {
    wake_timer_.expires_at(deadline);
    error_code error;
    co_await wake_timer_.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
  if (signalled_) {
    signalled_ = false;
    co_return Wake::signalled;
  }
  co_return std::chrono::steady_clock::now() >= deadline ? Wake::timed_out : Wake::signalled;
}

void Connection::signal() {
  signalled_ = true;
  wake_timer_.cancel();
}

void Connection::begin_limited(Duration timeout) {
  limit_timer_.expires_after(timeout);
  limit_timer_.async_wait([self = shared_from_this(), serial = ++limit_serial_](const error_code& error) {
    if (error || serial != self->limit_serial_) return;
    self->limit_passed_ = true;
    self->abort();
  });
}

void Connection::end_limited() {
  ++limit_serial_;
  limit_timer_.cancel();
}

asio::awaitable<bool> Connection::write(std::string_view data) {
  while (!data.empty()) {
    error_code error;
    std::size_t n = stream_->write_now(data, error);
    if (n == 0 && !error) {
      begin_limited(write_timeout_);
      n = co_await stream_->write_some(data, error);
      end_limited();
    }
    data.remove_prefix(n);
    if (error || limit_passed_) co_return false;
  }
  co_return true;
}

asio::awaitable<void> Connection::close_gently() {
  stream_->end_writing([self = shared_from_this()] {});
  const TimePoint deadline = std::chrono::steady_clock::now() + kLinger;
  while (!peer_gone_ && std::chrono::steady_clock::now() < deadline) {
    inbox_.clear();
    read_ahead();
    co_await wait(deadline);
  }
  abort();
}

void Connection::abort() {
  error_code ignored;
  stream_->socket().close(ignored);
  signal();
}

}  // namespace baton::frontend
