#include "peer/connection.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <exception>
#include <utility>

#include "baton/peer/address.hpp"

namespace baton::peer {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kFirstBuffer = 4 << 10;  // all that an unproven peer can make us hold
constexpr std::size_t kUsedBuffer = 64 << 10;
constexpr std::size_t kMinimumRead = 2 << 10;
constexpr std::size_t kKeptBuffer = 1 << 20;  // larger ones go back to the heap after use
constexpr Duration kLinger = std::chrono::seconds(1);

TimePoint now() { return std::chrono::steady_clock::now(); }

std::string name_of(const tcp::socket& socket) {
  boost::system::error_code error;
  const tcp::endpoint endpoint = socket.remote_endpoint(error);
  return error ? "?" : to_string(HostPort{endpoint.address().to_string(), endpoint.port()});
}

Payload share(std::vector<std::byte> bytes) {
  return std::make_shared<const std::vector<std::byte>>(std::move(bytes));
}

}  // namespace

PeerCounters::PeerCounters(MetricsRegistry& metrics)
    : messages_in(metrics.counter("baton_peer_messages_total", "Control messages", {{"direction", "in"}})),
      messages_out(metrics.counter("baton_peer_messages_total", "Control messages", {{"direction", "out"}})),
      bytes_in(metrics.counter("baton_peer_bytes_total", "Bytes of control streams", {{"direction", "in"}})),
      bytes_out(
          metrics.counter("baton_peer_bytes_total", "Bytes of control streams", {{"direction", "out"}})) {}

Connection::Connection(const Setup& setup, tcp::socket socket, Handshake::Side side, const Nonce& nonce)
    : setup_(setup),
      socket_(std::move(socket)),
      side_(side),
      remote_(name_of(socket_)),
      deadline_(socket_.get_executor()),
      handshake_(side, setup.identity, nonce),
      input_(kFirstBuffer),
      outbox_(setup.options.max_queued_bytes) {}

void Connection::start() {
  boost::system::error_code ignored;
  // Each generated token is a small message. (Keepalive and TCP_USER_TIMEOUT would add nothing to
  // heartbeats.)
  socket_.set_option(tcp::no_delay(true), ignored);
  set_deadline(setup_.options.handshake_timeout);
  const auto self = shared_from_this();
  asio::co_spawn(
      socket_.get_executor(), [self] { return self->run(); },
      [self](std::exception_ptr exception) {
        if (exception) self->close(make_error(ErrorCode::internal, "the connection's coroutine threw"));
      });
}

asio::awaitable<void> Connection::run() {
  const bool introduced = co_await shake_hands();
  if (introduced) {
    stage_ = Stage::introduced;
    setup_.owner.on_introduced(shared_from_this());
    for (bool going = handle_frames(); going; going = handle_frames()) {
      const bool more = co_await read_more();
      if (!more) break;
    }
  }
  if (stage_ == Stage::leaving) co_await leave();
  close(why_);
}

asio::awaitable<bool> Connection::shake_hands() {
  while (stage_ == Stage::handshake) {
    const std::vector<std::byte> output = handshake_.take_output();
    if (!output.empty()) {
      const auto [error, written] = co_await asio::async_write(socket_, asio::buffer(output), kAwait);
      setup_.counters.bytes_out.add(static_cast<double>(written));
      if (error) {
        close(make_error(ErrorCode::unavailable, "hung up during the handshake"), HandshakeFault::closed);
        co_return false;
      }
    }
    if (stage_ != Stage::handshake) co_return false;
    if (handshake_.failure()) {
      why_ = handshake_.failure()->error;
      fault_ = handshake_.failure()->fault;
      if (*fault_ == HandshakeFault::garbage) co_return false;  // nothing was said: just close
      stage_ = Stage::leaving;
      set_deadline(kLinger);
      boost::system::error_code ignored;
      socket_.shutdown(tcp::socket::shutdown_send, ignored);
      co_return false;
    }
    if (handshake_.done()) {
      sealer_ = handshake_.take_sealer();
      opener_ = handshake_.take_opener();
      co_return true;
    }
    const bool more = co_await read_more();
    if (!more) co_return false;
    input_begin_ += handshake_.feed(std::span(input_).subspan(input_begin_, input_end_ - input_begin_));
    knows_peer_ = handshake_.knows_peer();
    if (knows_peer_) peer_ = handshake_.peer();
  }
  co_return false;
}

asio::awaitable<bool> Connection::read_more() {
  if (input_begin_ == input_end_) {
    input_begin_ = input_end_ = 0;
    if (input_.size() > kKeptBuffer) std::vector<std::byte>(kUsedBuffer).swap(input_);
  } else if (input_.size() - input_end_ < kMinimumRead) {
    std::move(input_.begin() + static_cast<std::ptrdiff_t>(input_begin_),
              input_.begin() + static_cast<std::ptrdiff_t>(input_end_), input_.begin());
    input_end_ -= input_begin_;
    input_begin_ = 0;
  }
  // Grows with what arrived, never by what a length field claims.
  if (input_.size() - input_end_ < kMinimumRead) input_.resize(input_.size() * 2);

  const auto [error, bytes] = co_await socket_.async_read_some(
      asio::buffer(input_.data() + input_end_, input_.size() - input_end_), kAwait);
  if (stage_ == Stage::closed) co_return false;
  if (error) {
    if (stage_ == Stage::leaving) co_return false;
    const std::string how = error == asio::error::eof ? "closed the connection" : error.message();
    close(make_error(ErrorCode::unavailable, how),
          stage_ == Stage::used ? std::nullopt : std::optional(HandshakeFault::closed));
    co_return false;
  }
  last_heard_ = now();
  input_end_ += bytes;
  setup_.counters.bytes_in.add(static_cast<double>(bytes));
  co_return true;
}

asio::awaitable<void> Connection::leave() {
  // Closing a socket with unread input resets the connection, and our last words with it.
  while (stage_ == Stage::leaving) {
    input_begin_ = input_end_ = 0;
    const bool more = co_await read_more();
    if (!more) break;
  }
}

bool Connection::handle_frames() {
  while (stage_ == Stage::introduced || stage_ == Stage::used) {
    std::size_t used = 0;
    const auto frame =
        opener_->open(std::span(input_).subspan(input_begin_, input_end_ - input_begin_), used);
    if (!frame) {
      close(frame.error(), HandshakeFault::tampered);
      return false;
    }
    if (!frame->has_value()) return true;
    if (!handle(**frame)) return false;
    input_begin_ += used;
  }
  return false;
}

bool Connection::handle(const Frame& frame) {
  const auto self = shared_from_this();
  const bool introduced = stage_ == Stage::introduced;
  if (frame.kind == FrameKind::offer && introduced) {
    setup_.owner.on_offered(self);
  } else if (frame.kind == FrameKind::accept && introduced) {
    setup_.owner.on_accepted(self);
  } else if (frame.kind == FrameKind::refuse && introduced) {
    auto refusal = decode_refusal(frame.payload);
    if (refusal) {
      refusal->error.message = "refused by the other side: " + refusal->error.message;
      close(std::move(refusal->error), refusal->fault);
    } else {
      close(refusal.error(), HandshakeFault::garbage);
    }
  } else if (frame.kind == FrameKind::goodbye) {
    close(make_error(ErrorCode::unavailable, "left (it is shutting down)"),
          introduced ? std::optional(HandshakeFault::closed) : std::nullopt);
  } else if (frame.kind == FrameKind::message && stage_ == Stage::used) {
    auto message = decode_message(frame.payload, now());
    if (message) {
      setup_.counters.messages_in.add();
      setup_.owner.on_received(self, *std::move(message));
    } else {
      close(std::move(message).error());
    }
  } else {
    close(make_error(ErrorCode::corrupt, "a frame of kind " + std::to_string(static_cast<int>(frame.kind)) +
                                             " where none belongs"),
          HandshakeFault::garbage);
  }
  return stage_ == Stage::introduced || stage_ == Stage::used;
}

void Connection::offer() { push(FrameKind::offer, share({})); }

void Connection::use() {
  stage_ = Stage::used;
  deadline_.cancel();
  last_heard_ = now();
  opener_->set_limit(setup_.options.max_frame_bytes);
  if (input_.size() < kUsedBuffer) input_.resize(kUsedBuffer);
}

void Connection::accept() {
  push(FrameKind::accept, share({}));
  use();
}

void Connection::refuse(HandshakeFault fault, Error why) {
  if (stage_ != Stage::introduced) return;
  auto payload = encode_refusal({fault, why});
  why_ = std::move(why);
  fault_ = fault;
  leave_with(FrameKind::refuse, std::move(payload));
}

void Connection::goodbye() {
  if (stage_ != Stage::used) return close(make_error(ErrorCode::cancelled, "this node is shutting down"));
  why_ = make_error(ErrorCode::cancelled, "this node is shutting down");
  leave_with(FrameKind::goodbye, {});
}

void Connection::leave_with(FrameKind kind, std::vector<std::byte> payload) {
  stage_ = Stage::leaving;
  set_deadline(kLinger);
  push(kind, share(std::move(payload)));
}

void Connection::close(Error why, std::optional<HandshakeFault> fault) {
  if (stage_ == Stage::closed) return;
  const bool reason_known = stage_ == Stage::leaving || (stage_ == Stage::handshake && fault_);
  if (!reason_known) {
    why_ = std::move(why);
    fault_ = fault;
  }
  stage_ = Stage::closed;
  outbox_.close();
  deadline_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
  setup_.owner.on_closed(shared_from_this());
}

bool Connection::send(Payload message) { return push(FrameKind::message, std::move(message)); }

bool Connection::push(FrameKind kind, Payload payload) {
  switch (outbox_.push({kind, std::move(payload)})) {
    case Outbox::Push::queued:
      return true;
    case Outbox::Push::wake:
      // Posted even on the io thread: what one batch of received messages causes goes out in one write.
      asio::post(socket_.get_executor(), [self = shared_from_this()] { self->flush(0); });
      return true;
    case Outbox::Push::overflow:
      asio::post(socket_.get_executor(), [self = shared_from_this()] {
        self->close(
            make_error(ErrorCode::unavailable, "too slow: more than " +
                                                   std::to_string(self->setup_.options.max_queued_bytes) +
                                                   " bytes were waiting for it"));
      });
      return false;
    case Outbox::Push::closed:
      return false;
  }
  return false;
}

void Connection::flush(std::size_t written) {
  if (stage_ == Stage::closed) return;
  if (writing_.capacity() > kKeptBuffer) std::vector<std::byte>().swap(writing_);
  const std::vector<Outgoing> batch = outbox_.take(written);
  boost::system::error_code ignored;
  if (batch.empty()) {
    if (stage_ == Stage::leaving) socket_.shutdown(tcp::socket::shutdown_send, ignored);
    return;
  }
  writing_.clear();
  std::size_t messages = 0;
  for (const Outgoing& item : batch) {
    sealer_->seal(item.kind, *item.payload, writing_);
    messages += item.kind == FrameKind::message ? 1 : 0;
  }
  setup_.counters.messages_out.add(static_cast<double>(messages));
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](boost::system::error_code error, std::size_t bytes) {
                      self->setup_.counters.bytes_out.add(static_cast<double>(bytes));
                      if (!error) return self->flush(bytes);
                      // The reading side ends the connection: it may still find the other side's last words.
                      boost::system::error_code ignored_too;
                      self->socket_.shutdown(tcp::socket::shutdown_both, ignored_too);
                    });
}

void Connection::set_deadline(Duration left) {
  deadline_.expires_after(left);
  deadline_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->stage_ == Stage::used || self->deadline_.expiry() > now()) return;
    self->close(make_error(ErrorCode::deadline_exceeded, "the handshake took longer than handshake_timeout"),
                HandshakeFault::timeout);
  });
}

}  // namespace baton::peer
