#include "frontend/session.hpp"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <optional>

#include "frontend/answer_grammar.hpp"
#include "frontend/api.hpp"
#include "frontend/embeddings.hpp"
#include "frontend/generation.hpp"

namespace baton::frontend {
namespace {

namespace asio = boost::asio;

TimePoint now() { return std::chrono::steady_clock::now(); }

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Runs `work` on the pool and comes back to the coroutine's executor with its result; with nothing where too
// much waits there.
template <class Work>
asio::awaitable<std::optional<std::invoke_result_t<Work>>> in_bounded_pool(TextPool& pool, Work work) {
  std::optional<std::invoke_result_t<Work>> result;
  std::exception_ptr failure;
  const auto executor = co_await asio::this_coro::executor;
  auto start = [&](auto handler) {
    // shared: std::function wants to be copyable, the handler is not.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    const bool taken = pool.submit([&, executor, shared]() mutable {
      try {
        result.emplace(work());
      } catch (...) {  // this is the work's thread root; the coroutine answers for it
        failure = std::current_exception();
      }
      asio::post(executor, [shared = std::move(shared)] { std::move (*shared)(); });
    });
    // Taken, the coroutine may be over by now: nothing of it may be touched.
    if (!taken) asio::post(executor, [shared] { std::move (*shared)(); });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(std::move(start), asio::use_awaitable);
  if (failure) std::rethrow_exception(failure);
  co_return std::move(result);
}

// The same where nothing bounds the queue.
template <class Work>
asio::awaitable<std::invoke_result_t<Work>> in_pool(TextPool& pool, Work work) {
  auto result = co_await in_bounded_pool(pool, std::move(work));
  co_return std::move(*result);
}

}  // namespace

struct Session::RequestScope {
  explicit RequestScope(ServerState& s) : server(s) { server.begin_request(); }
  ~RequestScope() { server.end_request(); }
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;
  ServerState& server;
};

Session::Session(asio::ip::tcp::socket socket, ServerState& server, const ListenerRoutes& routes)
    : server_(server),
      routes_(routes),
      connection_(std::make_shared<Connection>(std::move(socket), server.options.write_timeout)) {}

Session::~Session() { server_.remove(this); }

void Session::wake() {
  asio::post(connection_->executor(), [self = shared_from_this()] { self->connection_->signal(); });
}

void Session::stop() {
  asio::post(connection_->executor(), [self = shared_from_this()] {
    self->stopping_ = true;
    self->keep_alive_ = false;
    if (self->running_ != nullptr) {
      self->running_->fail(make_error(ErrorCode::unavailable, "The server is shutting down."), self->outbox_);
      self->connection_->signal();
    } else {
      self->connection_->abort();
    }
  });
}

// Where there is a certificate: TLS. False where the connection is over; a client that speaks plain HTTP has
// been told so, in plain HTTP.
asio::awaitable<bool> Session::secure() {
  auto tls = server_.credentials.tls();
  if (!tls) co_return true;
  const auto secured = co_await connection_->secure(std::move(tls), server_.options.header_timeout);
  if (secured == Connection::Secured::not_tls) {
    keep_alive_ = false;
    co_await reply(error_reply(http_error(400, "This port speaks HTTPS only: use https://.")));
    co_await connection_->close_gently();
  }
  co_return secured == Connection::Secured::ready;
}

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  if (!co_await secure()) co_return;
  connection_->read_ahead();
  while (keep_alive_ && !stopping_) {
    HttpRequest request;
    std::unique_ptr<RequestScope> scope;
    stream_head_sent_ = false;
    if (!co_await read_request(request, scope)) break;
    try {
      co_await respond(request);
      continue;
    } catch (const std::exception& e) {  // out of memory, or our own bug: this connection's alone
      server_.services.logger.error("a request ended with an exception", {{"what", e.what()}});
    }
    keep_alive_ = false;
    if (stream_head_sent_) break;
    co_await reply(
        error_reply(api_error(make_error(ErrorCode::internal, "The server failed on this request."))));
  }
  co_await connection_->close_gently();
}

asio::awaitable<void> Session::reject() {
  const auto self = shared_from_this();
  if (!co_await secure()) co_return;
  keep_alive_ = false;
  connection_->read_ahead();
  co_await reply(error_reply(http_error(503, "The server has too many connections: try again later.")));
  co_await connection_->close_gently();
}

// Settles who asks; true where `reply` says no.
bool Session::refused(const HttpRequest& request, const Route& route, HttpReply& reply) {
  const auto keys = server_.credentials.keys();
  const auto refusal = refuse_access(request, route.access, keys.get(), caller_);
  if (refusal) reply = error_reply(*refusal);
  return refusal.has_value();
}

// False where there is no request to answer: the client left, was too slow, spoke no HTTP, or sends a body
// with a request that it may not make. All but the first have been told.
asio::awaitable<bool> Session::read_request(HttpRequest& request, std::unique_ptr<RequestScope>& scope) {
  using Progress = HttpRequestParser::Progress;
  HttpRequestParser parser(server_.limits);
  caller_ = Caller{.known = server_.credentials.keys() == nullptr, .tenant = {}};
  TimePoint deadline = now() + server_.options.idle_timeout;
  while (true) {
    std::string& inbox = connection_->inbox();
    if (!scope && !inbox.empty()) {
      scope = std::make_unique<RequestScope>(server_);
      deadline = now() + server_.options.header_timeout;
    }
    const Progress progress = inbox.empty() ? Progress::need_more : parser.feed(inbox);
    if (progress == Progress::complete) {
      request = parser.take_request();
      version_ = request.version;
      keep_alive_ = request.keep_alive;
      co_return true;
    }
    if (progress == Progress::failed) {
      keep_alive_ = false;
      co_await reply(error_reply(parser.error()));
      co_return false;
    }
    if (progress == Progress::header_done) {
      const HttpRequest head = parser.head();
      HttpReply no;
      if (refused(head, find_route(head.method, head.target, routes_), no)) {
        version_ = head.version;
        keep_alive_ = false;  // the body is not read
        co_await reply(no);
        co_return false;
      }
      deadline = now() + server_.options.body_timeout;
      if (parser.expects_continue() && !co_await connection_->write(kContinue)) co_return false;
    }
    if (connection_->peer_gone() || stopping_) co_return false;
    if (!scope && server_.draining) co_return false;
    connection_->read_ahead();
    if (co_await connection_->wait(deadline) == Connection::Wake::timed_out) {
      keep_alive_ = false;
      if (scope) {
        co_await reply(
            error_reply(http_error(408, parser.in_body() ? "The request's body took too long."
                                                         : "The request's headers took too long.")));
      }
      co_return false;
    }
  }
}

asio::awaitable<void> Session::respond(const HttpRequest& request) {
  const Route route = find_route(request.method, request.target, routes_);
  HttpReply no;
  if (refused(request, route, no)) {
    co_await reply(no, route.head_only);
  } else if (route.status != 200) {
    co_await reply(route_failure(route, request.method, request.target), route.head_only);
  } else if (route.endpoint == Endpoint::chat_completions || route.endpoint == Endpoint::completions) {
    co_await generate(route.endpoint, request);
  } else if (route.endpoint == Endpoint::embeddings) {
    co_await embed(request);
  } else {
    auto work = [&] {
      return answer(route, request.body, caller_.tenant, server_.services, server_.engine_metrics);
    };
    HttpReply answered;  // not ?: with co_await in it: GCC 12 destroys such temporaries twice
    if (is_slow(route.endpoint)) {
      answered = co_await in_pool(server_.pool, work);
    } else {
      answered = work();
    }
    co_await reply(answered, route.head_only);
  }
}

asio::awaitable<void> Session::generate(Endpoint endpoint, const HttpRequest& request) {
  const TimePoint arrival = now();
  RequestMetrics::Record record(server_.request_metrics, endpoint, arrival);
  auto work = [&] {
    return endpoint == Endpoint::chat_completions
               ? prepare_chat(request.body, caller_.tenant, server_.services)
               : prepare_completion(request.body, caller_.tenant, server_.services);
  };
  Result<PreparedRequest> prepared = co_await in_pool(server_.pool, work);
  if (!prepared) {
    co_await reply(error_reply(api_error(prepared.error())));
    co_return;
  }
  record.streaming(prepared->fields.stream);
  const TimePoint deadline = arrival + server_.options.request_timeout;
  if (!prepared->bound_by.empty()) {
    const Result<void> bound = co_await bind(*prepared, deadline);
    if (connection_->peer_gone()) {
      keep_alive_ = false;
      co_return;
    }
    if (!bound) {
      co_await reply(error_reply(api_error(bound.error())));
      co_return;
    }
  }
  Generation generation(answer_context(record, arrival, deadline), std::move(*prepared));
  co_await complete(generation, deadline);
}

asio::awaitable<void> Session::embed(const HttpRequest& request) {
  const TimePoint arrival = now();
  RequestMetrics::Record record(server_.request_metrics, Endpoint::embeddings, arrival);
  auto work = [&] { return prepare_embeddings(request.body, caller_.tenant, server_.services); };
  Result<PreparedEmbeddings> prepared = co_await in_pool(server_.pool, work);
  if (!prepared) {
    co_await reply(error_reply(api_error(prepared.error())));
    co_return;
  }
  const TimePoint deadline = arrival + server_.options.request_timeout;
  Embeddings embeddings(answer_context(record, arrival, deadline), std::move(*prepared));
  co_await complete(embeddings, deadline);
}

AnswerContext Session::answer_context(RequestMetrics::Record& record, TimePoint arrival, TimePoint deadline) {
  // shared with the engine's sinks; weak to us, since an engine may keep a sink for long
  auto queue = std::make_shared<EventQueue>([weak = weak_from_this(), executor = connection_->executor()] {
    asio::post(executor, [weak] {
      if (const auto self = weak.lock()) self->on_events();
    });
  });
  return {server_.services, record,  std::move(queue), server_.admission,
          server_.random,   arrival, deadline,         unix_seconds()};
}

// Writes and compiles what binds the answers, on a pool of its own; not at all once nobody waits for it.
asio::awaitable<Result<void>> Session::bind(PreparedRequest& request, TimePoint deadline) {
  std::atomic<bool> gone{connection_->peer_gone()};
  struct Leave {
    Connection& connection;
    ~Leave() { connection.on_peer_gone(nullptr); }
  } leave{*connection_};
  connection_->on_peer_gone([&gone] { gone = true; });
  auto work = [&]() -> Result<void> {
    if (gone) return make_error(ErrorCode::cancelled, "The client is gone.");
    if (now() >= deadline)
      return make_error(ErrorCode::deadline_exceeded, "The request took longer than the server allows.");
    return bind_answer(server_.services, request);
  };
  std::optional<Result<void>> bound = co_await in_bounded_pool(server_.format_pool, work);
  if (!bound)
    co_return make_error(ErrorCode::overloaded, "Too many requests wait for their formats: try again later.");
  co_return std::move(*bound);
}

asio::awaitable<void> Session::complete(RunningAnswer& running, TimePoint deadline) {
  if (auto accepted = running.submit(); !accepted) {
    co_await reply(error_reply(api_error(accepted.error())));
    co_return;
  }
  outbox_.clear();
  struct Leave {
    Session& session;
    ~Leave() {
      session.running_ = nullptr;
      session.connection_->on_peer_gone(nullptr);
    }
  } leave{*this};
  running_ = &running;
  connection_->on_peer_gone([this] { running_->cancel(); });
  if (connection_->peer_gone()) running.cancel();
  on_events();
  while (!running.done()) {
    if (!outbox_.empty() && !co_await send_frames(running)) {
      running.cancel();
      break;
    }
    if (running.done() || !outbox_.empty()) continue;
    if (co_await connection_->wait(deadline) == Connection::Wake::timed_out) {
      running.fail(
          make_error(ErrorCode::deadline_exceeded, "The request took longer than the server allows."),
          outbox_);
    }
  }
  if (connection_->peer_gone()) {
    keep_alive_ = false;
  } else if (running.early_error()) {
    co_await reply(error_reply(api_error(*running.early_error())));
  } else if (!running.stream()) {
    HttpReply done;
    done.body = running.unary_body();
    done.headers.emplace_back("x-request-id", running.id());
    if (const std::string route = running.route(); caller_.known && !route.empty())
      done.headers.emplace_back("x-baton-route", route);
    co_await reply(done);
  } else {
    co_await send_frames(running);
  }
}

// One write for all frames that are ready, the stream's end included.
asio::awaitable<bool> Session::send_frames(const RunningAnswer& running) {
  const std::string frames = std::exchange(outbox_, {});
  std::string bytes;
  if (!stream_head_sent_) {
    stream_head_sent_ = true;
    HttpReply head;
    head.content_type = "text/event-stream; charset=utf-8";
    head.headers.emplace_back("cache-control", "no-cache");
    head.headers.emplace_back("x-request-id", running.id());
    if (const std::string route = running.route(); caller_.known && !route.empty())
      head.headers.emplace_back("x-baton-route", route);
    if (version_ == 10) keep_alive_ = false;  // its end is the connection's
    bytes = serialize_stream_head(head, wire());
    server_.count_response(200);
  }
  const bool chunked = version_ >= 11;
  if (!frames.empty()) bytes += chunked ? encode_chunk(frames) : frames;
  if (running.done() && chunked) bytes += kLastChunk;
  const bool sent = co_await connection_->write(bytes);
  if (!sent) keep_alive_ = false;
  co_return sent;
}

void Session::on_events() {
  if (running_ == nullptr) return;
  running_->advance(outbox_);
  if (outbox_.size() > server_.options.max_buffered_bytes) {
    server_.services.logger.warn("client reads too slowly: dropped", {{"request", running_->id()}});
    running_->cancel();
    outbox_.clear();
    connection_->abort();
  }
  connection_->signal();
}

asio::awaitable<void> Session::reply(const HttpReply& reply, bool head_only) {
  WireOptions options = wire();
  options.head_only = head_only;
  server_.count_response(reply.status);
  const std::string bytes = serialize(reply, options);
  if (!co_await connection_->write(bytes)) keep_alive_ = false;
}

WireOptions Session::wire() {
  if (server_.draining || stopping_) keep_alive_ = false;
  WireOptions options;
  options.version = version_;
  options.keep_alive = keep_alive_;
  if (caller_.known) options.node_name = server_.options.node_name;
  return options;
}

}  // namespace baton::frontend
