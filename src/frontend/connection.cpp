#include "frontend/connection.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace baton::frontend {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t kInboxLimit = 64 * 1024;
constexpr Duration kLinger = std::chrono::seconds(2);

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, Duration write_timeout)
    : socket_(std::move(socket)),
      wake_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()),
      write_timeout_(write_timeout) {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);  // hosts that vanish without a word
}

void Connection::read_ahead() {
  if (reading_ || peer_gone_ || inbox_.size() >= kInboxLimit) return;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(read_buffer_),
      [self = shared_from_this()](const error_code& error, std::size_t n) { self->on_read(error, n); });
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

void Connection::arm_write_timer() {
  write_timer_.expires_after(write_timeout_);
  write_timer_.async_wait([self = shared_from_this(), serial = ++write_serial_](const error_code& error) {
    if (error || serial != self->write_serial_) return;
    self->write_expired_ = true;
    self->abort();
  });
}

asio::awaitable<bool> Connection::write(std::string_view data) {
  while (!data.empty()) {
    error_code error;
    const std::size_t n = socket_.write_some(asio::buffer(data.data(), data.size()), error);
    data.remove_prefix(n);
    if (!error) continue;
    if (error != asio::error::would_block) co_return false;
    arm_write_timer();
    co_await socket_.async_wait(asio::ip::tcp::socket::wait_write,
                                asio::redirect_error(asio::use_awaitable, error));
    ++write_serial_;
    write_timer_.cancel();
    if (error || write_expired_) co_return false;
  }
  co_return true;
}

asio::awaitable<void> Connection::close_gently() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
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
  socket_.close(ignored);
  signal();
}

}  // namespace baton::frontend
