#include "frontend/listener.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>

namespace baton::frontend {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Result<tcp::endpoint> resolve(asio::io_context& io, const std::string& host, std::uint16_t port,
                              const std::string& setting) {
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return tcp::endpoint(address, port);
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return make_error(ErrorCode::io, "cannot resolve the host '" + host + "': " + error.message(), setting);
  }
  return found.begin()->endpoint();
}

}  // namespace

Listener::Listener(asio::io_context& io, ListenerRoutes routes, Logger& logger, OnAccept on_accept)
    : io_(io),
      routes_(routes),
      logger_(logger),
      on_accept_(std::move(on_accept)),
      strand_(asio::make_strand(io)),
      acceptor_(strand_),
      retry_(strand_) {}

Result<std::uint16_t> Listener::listen(const std::string& host, std::uint16_t port,
                                       const std::string& setting) {
  auto endpoint = resolve(io_, host, port, setting);
  if (!endpoint) return std::move(endpoint).error();
  error_code error;
  acceptor_.open(endpoint->protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(*endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  tcp::endpoint bound;
  if (!error) bound = acceptor_.local_endpoint(error);
  if (error) {
    return make_error(ErrorCode::io,
                      "cannot listen on " + host + ":" + std::to_string(port) + ": " + error.message(),
                      setting);
  }
  return bound.port();
}

void Listener::start() { asio::co_spawn(strand_, accept_loop(), asio::detached); }

asio::awaitable<void> Listener::accept_loop() {
  while (acceptor_.is_open()) {
    tcp::socket socket(asio::make_strand(io_));
    error_code error;
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      on_accept_(std::move(socket), routes_);
    } else if (error == asio::error::no_descriptors || error == asio::error::no_memory) {
      // The connection stays in the backlog; trying again at once would only spin.
      logger_.warn("cannot accept a connection", {{"error", error.message()}});
      retry_.expires_after(std::chrono::milliseconds(100));
      co_await retry_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

void Listener::close() {
  std::promise<void> closed;
  asio::post(strand_, [&] {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
    closed.set_value();
  });
  closed.get_future().wait();
}

}  // namespace baton::frontend
