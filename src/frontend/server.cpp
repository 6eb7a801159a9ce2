// HttpServer: the listener, the io threads, and the order in which everything ends.
//
// Invariant: on stop, first the sessions end, then the io threads, then the text pool; the io_context with
// whatever coroutine is left goes last before the state that they refer to.
#include "baton/frontend/server.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <future>
#include <thread>
#include <vector>

#include "frontend/server_state.hpp"
#include "frontend/session.hpp"

namespace baton {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Connections over the limit that may be told so at the same time; the rest is closed without a word.
constexpr std::size_t kMaxRejections = 64;
// How long stop() lets sessions say their last words.
constexpr Duration kFarewell = std::chrono::milliseconds(500);

Result<tcp::endpoint> resolve(asio::io_context& io, const std::string& host, std::uint16_t port) {
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return tcp::endpoint(address, port);
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return make_error(ErrorCode::io, "cannot resolve the host '" + host + "': " + error.message(), "host");
  }
  return found.begin()->endpoint();
}

}  // namespace

struct HttpServer::State {
  State(FrontendOptions options, FrontendServices services)
      : shared(std::move(options), std::move(services)),
        strand(asio::make_strand(io)),
        acceptor(strand),
        retry(strand),
        work(asio::make_work_guard(io)) {}

  Result<std::uint16_t> listen();
  asio::awaitable<void> accept_loop();
  void begin_session(tcp::socket socket);
  void run_io();

  frontend::ServerState shared;  // before io: outlives the coroutines that io destroys
  asio::io_context io;
  asio::strand<asio::io_context::executor_type> strand;  // the acceptor's
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::vector<std::thread> threads;
};

Result<std::uint16_t> HttpServer::State::listen() {
  const FrontendOptions& options = shared.options;
  const std::string name = options.host + ":" + std::to_string(options.port);
  auto endpoint = resolve(io, options.host, options.port);
  if (!endpoint) return std::move(endpoint).error();
  error_code error;
  acceptor.open(endpoint->protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(*endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return make_error(ErrorCode::io, "cannot listen on " + name + ": " + error.message(), "port");
  const tcp::endpoint bound = acceptor.local_endpoint(error);
  if (error) return make_error(ErrorCode::io, "cannot listen on " + name + ": " + error.message(), "port");
  return bound.port();
}

asio::awaitable<void> HttpServer::State::accept_loop() {
  while (acceptor.is_open()) {
    tcp::socket socket(asio::make_strand(io));
    error_code error;
    co_await acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      begin_session(std::move(socket));
    } else if (error == asio::error::no_descriptors || error == asio::error::no_memory) {
      // The connection stays in the backlog; trying again at once would only spin.
      shared.services.logger.warn("cannot accept a connection", {{"error", error.message()}});
      retry.expires_after(std::chrono::milliseconds(100));
      co_await retry.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

void HttpServer::State::begin_session(tcp::socket socket) {
  const std::size_t open = shared.connections();
  if (open >= shared.options.max_connections + kMaxRejections) return;
  const auto executor = socket.get_executor();
  // shared: its coroutine, pending operations and posted events hold it
  auto session = std::make_shared<frontend::Session>(std::move(socket), shared);
  shared.add(session);
  auto ended = [this](std::exception_ptr error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      shared.services.logger.error("a connection ended with an exception", {{"what", e.what()}});
    }
  };
  const bool full = open >= shared.options.max_connections;
  auto begin = [session, full] { return full ? session->reject() : session->run(); };
  asio::co_spawn(executor, std::move(begin), std::move(ended));
}

// A thread root: a handler that throws (out of memory, our own bug) must not take the others along.
void HttpServer::State::run_io() {
  while (!io.stopped()) {
    try {
      io.run();
      return;
    } catch (const std::exception& e) {
      shared.services.logger.error("an io handler threw", {{"what", e.what()}});
    }
  }
}

HttpServer::HttpServer(FrontendOptions options, FrontendServices services)
    : state_(std::make_unique<State>(std::move(options), std::move(services))) {}

HttpServer::~HttpServer() { stop(); }

Result<std::uint16_t> HttpServer::start() {
  auto port = state_->listen();
  if (!port) return port;
  asio::co_spawn(state_->strand, state_->accept_loop(), asio::detached);
  for (int i = 0; i < std::max(1, state_->shared.options.io_threads); ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->run_io(); });
  }
  return port;
}

void HttpServer::stop_accepting() {
  state_->shared.draining = true;
  if (state_->threads.empty()) return;
  std::promise<void> closed;
  asio::post(state_->strand, [&] {
    error_code ignored;
    state_->acceptor.close(ignored);
    state_->retry.cancel();
    closed.set_value();
  });
  closed.get_future().wait();
  state_->shared.for_each([](const auto& session) { session->wake(); });
}

bool HttpServer::drain(Duration timeout) { return state_->shared.wait_no_requests(timeout); }

void HttpServer::stop() {
  if (state_->threads.empty()) return;
  stop_accepting();
  state_->shared.for_each([](const auto& session) { session->stop(); });
  state_->shared.wait_no_connections(kFarewell);
  state_->work.reset();
  state_->io.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  state_->shared.pool.stop();
}

}  // namespace baton
