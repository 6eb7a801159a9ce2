// One listening socket and its accept loop.
//
// Invariant: everything but the constructor, listen() and close() runs on the listener's strand.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <functional>
#include <string>

#include "baton/base/log.hpp"
#include "baton/base/result.hpp"
#include "frontend/routes.hpp"

namespace baton::frontend {

class Listener {
 public:
  using OnAccept = std::function<void(boost::asio::ip::tcp::socket, const ListenerRoutes&)>;
  Listener(boost::asio::io_context& io, ListenerRoutes routes, Logger& logger, OnAccept on_accept);

  // The bound port; io with the address where it is taken. An error's field is `setting`.
  Result<std::uint16_t> listen(const std::string& host, std::uint16_t port, const std::string& setting);
  void start();  // accepts from now on; each socket has a strand of its own
  void close();  // from a thread that runs no io; returns when nothing is accepted any more

 private:
  boost::asio::awaitable<void> accept_loop();

  boost::asio::io_context& io_;
  const ListenerRoutes routes_;
  Logger& logger_;
  const OnAccept on_accept_;
  boost::asio::strand<boost::asio::io_context::executor_type> strand_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
};

}  // namespace baton::frontend
