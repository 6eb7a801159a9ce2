// HttpServer: the listeners, the io threads, and the order in which everything ends.
//
// Invariant: on stop, first the sessions end, then the io threads, then the text pools; the io_context with
// whatever coroutine is left goes last before the state that they refer to.
#include "baton/frontend/server.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <exception>
#include <list>
#include <thread>
#include <vector>

#include "frontend/listener.hpp"
#include "frontend/server_state.hpp"
#include "frontend/session.hpp"

namespace baton {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// Connections over the limit that may be told so at the same time; the rest is closed without a word.
constexpr std::size_t kMaxRejections = 64;
// How long stop() lets sessions say their last words.
constexpr Duration kFarewell = std::chrono::milliseconds(500);

}  // namespace

struct HttpServer::State {
  State(FrontendOptions options, FrontendServices services)
      : shared(std::move(options), std::move(services)), work(asio::make_work_guard(io)) {}

  Result<std::uint16_t> listen(const ListenAddress& address, frontend::ListenerRoutes routes,
                               const std::string& setting);
  void begin_session(tcp::socket socket, const frontend::ListenerRoutes& routes);
  void run_io();

  frontend::ServerState shared;  // before io: outlives the coroutines that io destroys
  asio::io_context io;
  std::list<frontend::Listener> listeners;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::vector<std::thread> threads;
  std::uint16_t admin_port = 0;
};

Result<std::uint16_t> HttpServer::State::listen(const ListenAddress& address, frontend::ListenerRoutes routes,
                                                const std::string& setting) {
  auto on_accept = [this](tcp::socket socket, const frontend::ListenerRoutes& its) {
    begin_session(std::move(socket), its);
  };
  return listeners.emplace_back(io, routes, shared.services.logger, std::move(on_accept))
      .listen(address.host, address.port, setting);
}

void HttpServer::State::begin_session(tcp::socket socket, const frontend::ListenerRoutes& routes) {
  const std::size_t open = shared.connections();
  if (open >= shared.options.max_connections + kMaxRejections) return;
  const auto executor = socket.get_executor();
  // shared: its coroutine, pending operations and posted events hold it
  auto session = std::make_shared<frontend::Session>(std::move(socket), shared, routes);
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
  const FrontendOptions& options = state_->shared.options;
  if (auto loaded = state_->shared.credentials.load(); !loaded) return std::move(loaded).error();
  const bool apart = !options.admin.host.empty();
  auto port = state_->listen({options.host, options.port}, {.api = true, .admin = !apart}, "port");
  if (!port) return port;
  if (apart) {
    auto admin = state_->listen(options.admin, {.api = false, .admin = true}, "--admin-listen");
    if (!admin) return admin;
    state_->admin_port = *admin;
  }
  for (frontend::Listener& listener : state_->listeners) listener.start();
  for (int i = 0; i < std::max(1, options.io_threads); ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->run_io(); });
  }
  return port;
}

std::uint16_t HttpServer::admin_port() const { return state_->admin_port; }

void HttpServer::reload(bool even_if_unchanged) { state_->shared.credentials.reload(even_if_unchanged); }

void HttpServer::stop_accepting() {
  state_->shared.draining = true;
  if (state_->threads.empty()) return;
  for (frontend::Listener& listener : state_->listeners) listener.close();
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
  state_->shared.format_pool.stop();
}

}  // namespace baton
