// One client connection's protocol: requests in, answers out, keep-alive, deadlines, disconnects.
//
// Invariant: everything but the constructor runs on the connection's strand; engine threads reach it only by
// posting there. Held by shared_ptr: its coroutine and posted events keep it alive.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "frontend/access.hpp"
#include "frontend/connection.hpp"
#include "frontend/http_writer.hpp"
#include "frontend/prepare.hpp"
#include "frontend/routes.hpp"
#include "frontend/running_answer.hpp"
#include "frontend/server_state.hpp"

namespace baton::frontend {

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(boost::asio::ip::tcp::socket socket, ServerState& server, const ListenerRoutes& routes);
  ~Session();

  boost::asio::awaitable<void> run();
  // Over the connection limit: says so and closes.
  boost::asio::awaitable<void> reject();

  // From any thread; they post. wake: look at `draining` again. stop: end what is running, close.
  void wake();
  void stop();

 private:
  struct RequestScope;  // counts the request while it is read and answered

  boost::asio::awaitable<bool> secure();
  bool refused(const HttpRequest& request, const Route& route, HttpReply& reply);
  boost::asio::awaitable<bool> read_request(HttpRequest& request, std::unique_ptr<RequestScope>& scope);
  boost::asio::awaitable<void> respond(const HttpRequest& request);
  boost::asio::awaitable<void> generate(Endpoint endpoint, const HttpRequest& request);
  boost::asio::awaitable<void> embed(const HttpRequest& request);
  boost::asio::awaitable<Result<void>> bind(PreparedRequest& request, TimePoint deadline);
  boost::asio::awaitable<void> complete(RunningAnswer& running, TimePoint deadline);
  boost::asio::awaitable<bool> send_frames(const RunningAnswer& running);
  boost::asio::awaitable<void> reply(const HttpReply& reply, bool head_only = false);
  AnswerContext answer_context(RequestMetrics::Record& record, TimePoint arrival, TimePoint deadline);
  void on_events();
  WireOptions wire();  // settles keep_alive_

  ServerState& server_;
  const ListenerRoutes routes_;
  std::shared_ptr<Connection> connection_;  // shared with its pending reads and timers
  RunningAnswer* running_ = nullptr;        // what the engines compute for the request at hand
  std::string outbox_;                      // frames that wait for the connection
  Caller caller_;                           // of the request at hand
  bool stream_head_sent_ = false;
  bool keep_alive_ = true;
  bool stopping_ = false;
  int version_ = 11;
};

}  // namespace baton::frontend
