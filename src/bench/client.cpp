// A request's life: take a connection (a used one if there is one), write, read, note the time of each piece.
// All coroutines run on one thread; nothing here is shared with another.
#include "baton/bench/client.hpp"

#include <time.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <random>
#include <unordered_set>

#include "baton/bench/sse.hpp"
#include "bench/http_response.hpp"

namespace baton::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr double kConnectTimeout = 10;

Clock::duration in(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::max(0.0, seconds)));
}

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A TCP connection, TLS on it where wanted.
class Connection {
 public:
  Connection(asio::io_context& io, asio::ssl::context* tls) : socket_(io) {
    if (tls != nullptr) secure_ = std::make_unique<asio::ssl::stream<tcp::socket&>>(socket_, *tls);
  }
  asio::awaitable<error_code> connect(const tcp::resolver::results_type& where, const std::string& host) {
    auto [error, endpoint] = co_await asio::async_connect(socket_, where, kAwait);
    if (error) co_return error;
    socket_.set_option(tcp::no_delay(true), error);
    if (!secure_) co_return error_code{};
    SSL_set_tlsext_host_name(secure_->native_handle(), host.c_str());
    secure_->set_verify_callback(asio::ssl::host_name_verification(host), error);
    auto [failed] = co_await secure_->async_handshake(asio::ssl::stream_base::client, kAwait);
    co_return failed;
  }
  asio::awaitable<error_code> write(const std::string& bytes) {
    if (secure_) {
      auto [error, count] = co_await asio::async_write(*secure_, asio::buffer(bytes), kAwait);
      co_return error;
    }
    auto [error, count] = co_await asio::async_write(socket_, asio::buffer(bytes), kAwait);
    co_return error;
  }
  // Empty at the end of the stream or after an error.
  asio::awaitable<std::string_view> read() {
    if (secure_) {
      auto [error, count] = co_await secure_->async_read_some(asio::buffer(buffer_), kAwait);
      co_return std::string_view(buffer_.data(), count);
    }
    auto [error, count] = co_await socket_.async_read_some(asio::buffer(buffer_), kAwait);
    co_return std::string_view(buffer_.data(), count);
  }
  void close() {
    error_code ignored;
    socket_.close(ignored);
  }
  bool open() const { return socket_.is_open(); }
  bool reusable = false;  // the last answer was read to its end and may be followed by another

 private:
  tcp::socket socket_;
  std::unique_ptr<asio::ssl::stream<tcp::socket&>> secure_;
  std::array<char, 16384> buffer_{};
};

// What one piece of an answer holds.
struct Piece {
  std::string content;
  std::int64_t output_tokens = -1, input_tokens = -1;
  std::string error;
};

Piece read_piece(std::string_view data, bool chat, bool streaming) {
  Piece piece;
  const auto json = nlohmann::json::parse(data, nullptr, false);
  if (!json.is_object()) {
    piece.error = "a piece of the answer is not JSON";
    return piece;
  }
  if (const auto error = json.find("error"); error != json.end() && !error->is_null()) {
    const bool told = error->is_object() && error->contains("message") && (*error)["message"].is_string();
    piece.error = told ? (*error)["message"].get<std::string>() : error->dump();
  }
  const auto choices = json.find("choices");
  if (choices != json.end() && choices->is_array() && !choices->empty() && choices->front().is_object()) {
    const nlohmann::json& choice = choices->front();
    const nlohmann::json* holder = &choice;
    if (chat) {
      const auto inner = choice.find(streaming ? "delta" : "message");
      holder = inner != choice.end() && inner->is_object() ? &*inner : nullptr;
    }
    const auto add = [&](const char* key) {
      const auto found = holder->find(key);
      if (found == holder->end() || !found->is_string()) return false;
      piece.content += found->get_ref<const std::string&>();
      return true;
    };
    if (holder != nullptr) {
      // Reasoning has two names; some servers use both for the same text.
      if (!add("reasoning_content")) add("reasoning");
      add("content");
      add("text");
    }
  }
  if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
    const auto count = [&](const char* key, std::int64_t& target) {
      if (const auto found = usage->find(key); found != usage->end() && found->is_number_integer())
        target = found->get<std::int64_t>();
    };
    count("completion_tokens", piece.output_tokens);
    count("prompt_tokens", piece.input_tokens);
  }
  return piece;
}

class Run {
 public:
  Run(const Target& target, const std::vector<Conversation>& conversations, const LoadOptions& options,
      const std::function<void(const Progress&)>& progress)
      : target_(target),
        conversations_(conversations),
        options_(options),
        progress_(progress),
        random_(options.seed) {}

  Result<RunResult> run() {
    tcp::resolver resolver(io_);
    error_code error;
    where_ = resolver.resolve(target_.host, std::to_string(target_.port), error);
    if (error)
      return make_error(ErrorCode::unavailable,
                        "--url: cannot resolve " + target_.host + ": " + error.message(), "--url");
    if (target_.tls) {
      tls_.emplace(asio::ssl::context::tls_client);
      tls_->set_verify_mode(asio::ssl::verify_peer);
      if (target_.ca_file.empty())
        tls_->set_default_verify_paths(error);
      else
        tls_->load_verify_file(target_.ca_file, error);
      if (error) return make_error(ErrorCode::io, "certificates: " + error.message(), "--url");
    }
    begin_ = Clock::now();
    const double processor = processor_seconds();
    if (options_.arrivals.empty()) {
      const int workers = std::max(1, options_.concurrency);
      for (int i = 0; i < workers; ++i)
        if (const double delay = options_.ramp * i / workers; !too_late(delay)) spawn(worker(delay));
    } else {
      spawn(dispatcher());
    }
    asio::co_spawn(io_, report(), asio::detached);
    if (options_.duration > 0) asio::co_spawn(io_, stop_late_ones(), asio::detached);
    io_.run();
    RunResult result;
    result.client_cpu = processor_seconds() - processor;
    result.records = std::move(records_);
    bool first = true;
    for (const Record& r : result.records) {
      result.begin = first ? r.sent : std::min(result.begin, r.sent);
      result.end = std::max(result.end, r.ended);
      first = false;
    }
    return result;
  }

 private:
  double now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void spawn(asio::awaitable<void> task) {
    ++tasks_;
    asio::co_spawn(io_, std::move(task), [this](const std::exception_ptr&) {
      if (--tasks_ == 0) finish();
    });
  }
  void finish() {
    over_ = true;
    ticker_.cancel();
    late_.cancel();
    idle_.clear();
  }

  // Whether nothing begins at `at` any more, in seconds since the load began.
  bool too_late(double at) const { return options_.duration > 0 && at >= options_.duration; }
  bool may_begin() const { return begun_ < options_.conversations && !too_late(now()); }
  const Conversation& next() { return conversations_[begun_++ % conversations_.size()]; }

  asio::awaitable<void> worker(double delay) {
    asio::steady_timer timer(io_, in(delay));
    co_await timer.async_wait(kAwait);
    while (may_begin()) {
      const Conversation& conversation = next();
      co_await converse(conversation, now());
    }
  }

  // Never waits for an answer; only a limit of concurrency makes it late, and that is recorded.
  asio::awaitable<void> dispatcher() {
    asio::steady_timer timer(io_);
    for (const double at : options_.arrivals) {
      if (!may_begin() || too_late(at)) break;
      timer.expires_at(begin_ + in(at));
      co_await timer.async_wait(kAwait);
      while (options_.concurrency > 0 && running_ >= static_cast<std::size_t>(options_.concurrency)) {
        room_.expires_after(in(3600));
        co_await room_.async_wait(kAwait);
      }
      spawn(converse(next(), at));
    }
  }

  asio::awaitable<void> converse(const Conversation& conversation, double scheduled) {
    ++running_;
    nlohmann::json messages = nlohmann::json::array();
    for (std::size_t i = 0; i < conversation.turns.size(); ++i) {
      const Turn& turn = conversation.turns[i];
      if (i > 0) {
        if (too_late(now() + turn.delay)) break;
        asio::steady_timer timer(io_, in(turn.delay));
        scheduled = now() + turn.delay;
        co_await timer.async_wait(kAwait);
      }
      Record record;
      record.index = static_cast<std::int64_t>(sent_++);
      record.turn = static_cast<std::int32_t>(i);
      record.warm_up = options_.warm_up;
      record.scheduled = scheduled;
      record.input_tokens = turn.input_tokens;
      messages.push_back({{"role", "user"}, {"content", turn.prompt}});
      std::string answer;
      co_await request(turn, messages, record, answer);
      ++done_;
      if (record.outcome == Outcome::failed) ++failed_;
      const bool good = record.outcome == Outcome::completed;
      records_.push_back(std::move(record));
      if (!good) break;
      messages.push_back({{"role", "assistant"}, {"content", answer}});
    }
    --running_;
    room_.cancel();
  }

  std::string request_text(const Turn& turn, const nlohmann::json& messages) const {
    nlohmann::json body{{"model", target_.model}, {"stream", target_.streaming}};
    if (target_.chat)
      body["messages"] = messages;
    else
      body["prompt"] = turn.prompt;
    if (turn.max_tokens > 0) body["max_tokens"] = turn.max_tokens;
    if (target_.streaming) body["stream_options"] = {{"include_usage", true}};
    body.update(target_.extra);
    const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::string head = "POST " + target_.path + " HTTP/1.1\r\nHost: " + target_.host + ":" +
                       std::to_string(target_.port) + "\r\nContent-Type: application/json\r\nAccept: " +
                       (target_.streaming ? "text/event-stream" : "application/json") +
                       "\r\nContent-Length: " + std::to_string(text.size()) + "\r\n";
    if (!target_.api_key.empty()) head += "Authorization: Bearer " + target_.api_key + "\r\n";
    return head + "\r\n" + text;
  }

  asio::awaitable<void> request(const Turn& turn, const nlohmann::json& messages, Record& record,
                                std::string& answer) {
    const std::string text = request_text(turn, messages);
    const bool cancel =
        options_.cancel_share > 0 && std::bernoulli_distribution(options_.cancel_share)(random_);
    record.sent = now();
    for (bool again = true; again;) {
      again = false;
      std::shared_ptr<Connection> connection;
      const bool used = !idle_.empty();
      if (used) {
        connection = std::move(idle_.back());
        idle_.pop_back();
      } else {
        connection = std::make_shared<Connection>(io_, tls_ ? &*tls_ : nullptr);
      }
      // Closes the connection when the time is over: every wait below ends with it.
      const double most = cancel ? options_.cancel_after : options_.timeout;
      asio::steady_timer limit(io_);
      const auto expired = std::make_shared<bool>(false);  // the timer may fire when this is over
      const auto give = [&](double seconds) {
        limit.expires_after(in(seconds));
        limit.async_wait([expired, connection](const error_code& error) {
          if (error) return;
          *expired = true;
          connection->close();
        });
      };
      bool connected = used;
      open_.insert(connection.get());
      if (!used) {
        give(std::min(most, kConnectTimeout));
        if (const error_code error = co_await connection->connect(where_, target_.host); error)
          record.error = "cannot connect: " + (*expired ? "no answer" : error.message());
        else
          connected = true;
      }
      if (record.error.empty()) {
        give(most - (now() - record.sent));
        const bool nothing = co_await exchange(*connection, text, record, answer);
        // A server may have closed a connection that lay idle; nothing of this request was done.
        again = nothing && used && !*expired;
      }
      limit.cancel();
      open_.erase(connection.get());
      if (again) {
        record.error.clear();
        continue;
      }
      if (*expired) {
        record.outcome = cancel ? Outcome::cancelled : Outcome::failed;
        if (!cancel && connected)
          record.error = "no answer within " + std::to_string(static_cast<int>(options_.timeout)) + " s";
      } else if (stopped_ && !record.error.empty()) {
        record.outcome = Outcome::cancelled;
      } else {
        record.outcome = record.error.empty() ? Outcome::completed : Outcome::failed;
      }
      if (record.outcome == Outcome::completed && connection->open() && connection->reusable)
        idle_.push_back(std::move(connection));
    }
    record.ended = std::max(record.ended, record.sent);
    output_tokens_ += record.output_tokens;
  }

  // Whether the connection ended before anything of the answer came.
  asio::awaitable<bool> exchange(Connection& connection, const std::string& text, Record& record,
                                 std::string& answer) {
    bool nothing = true, finished = false;
    double time = 0;
    std::string whole;
    std::int64_t counted = -1;
    SseParser events;
    const auto take = [&](std::string_view data) {
      if (data == "[DONE]") {
        finished = true;
        return;
      }
      Piece piece = read_piece(data, target_.chat, target_.streaming);
      if (!piece.error.empty() && record.error.empty()) record.error = std::move(piece.error);
      if (piece.output_tokens >= 0) counted = piece.output_tokens;
      if (record.input_tokens == 0 && piece.input_tokens > 0) record.input_tokens = piece.input_tokens;
      if (piece.content.empty()) return;
      ++record.chunks;
      if (record.first == 0)
        record.first = time;
      else if (record.second == 0)
        record.second = time;
      record.last = time;
      answer += piece.content;
    };
    HttpResponse response([&](std::string_view bytes) {
      if (target_.streaming) events.feed(bytes, take);
      if (!target_.streaming || whole.size() < 4096) whole += bytes;
    });
    connection.reusable = false;
    if (co_await connection.write(text)) {
      record.error = "the connection ended while the request was sent";
      co_return true;
    }
    while (!response.done()) {
      const std::string_view bytes = co_await connection.read();
      time = now();
      if (bytes.empty()) {
        response.closed();
        break;
      }
      nothing = false;
      if (const auto fed = response.feed(bytes); !fed) {
        record.error = fed.error().message;
        co_return false;
      }
    }
    record.ended = now();
    connection.reusable = response.done() && response.keep_alive();
    if (response.status() >= 300)
      record.error = "HTTP " + std::to_string(response.status()) + ": " + whole.substr(0, 300);
    else if (!response.done())
      record.error = "the connection ended before the answer did";
    else if (!target_.streaming)
      take(whole);
    else if (!finished && record.error.empty())
      record.error = "the stream ended without [DONE]";
    if (record.error.empty() && record.first == 0) record.error = "an answer without content";
    record.output_tokens = counted >= 0 ? counted : record.chunks;
    co_return nothing;
  }

  asio::awaitable<void> report() {
    while (!over_) {
      ticker_.expires_after(std::chrono::milliseconds(100));
      co_await ticker_.async_wait(kAwait);
      if (progress_) progress_({now(), begun_, done_, failed_, running_, output_tokens_});
    }
  }

  asio::awaitable<void> stop_late_ones() {
    late_.expires_at(begin_ + in(options_.duration + options_.grace));
    const auto [error] = co_await late_.async_wait(kAwait);
    if (error) co_return;
    stopped_ = true;
    for (Connection* connection : open_) connection->close();
  }

  const Target& target_;
  const std::vector<Conversation>& conversations_;
  const LoadOptions& options_;
  const std::function<void(const Progress&)>& progress_;
  std::mt19937_64 random_;
  asio::io_context io_{1};
  std::optional<asio::ssl::context> tls_;
  tcp::resolver::results_type where_;
  Clock::time_point begin_;
  std::vector<std::shared_ptr<Connection>> idle_;
  std::unordered_set<Connection*> open_;  // in use; each is held by its request
  asio::steady_timer ticker_{io_}, late_{io_}, room_{io_};
  std::vector<Record> records_;
  std::size_t begun_ = 0, sent_ = 0, done_ = 0, failed_ = 0, running_ = 0, tasks_ = 0;
  std::int64_t output_tokens_ = 0;
  bool over_ = false, stopped_ = false;
};

}  // namespace

Result<Target> parse_target(const std::string& url) {
  Target target;
  std::string rest = url;
  if (rest.starts_with("https://")) target.tls = true;
  if (const std::size_t scheme = rest.find("://"); scheme != rest.npos) {
    if (!rest.starts_with("http://") && !target.tls)
      return make_error(ErrorCode::invalid_argument, "--url: '" + url + "' is neither http nor https",
                        "--url");
    rest.erase(0, scheme + 3);
  }
  rest = rest.substr(0, rest.find('/'));
  target.port = target.tls ? 443 : 80;
  const std::size_t colon = rest.find_last_of(':');
  const bool bracketed = rest.starts_with('[');
  if (colon != rest.npos && (!bracketed || rest[colon - 1] == ']')) {
    const char* begin = rest.data() + colon + 1;
    const char* end = rest.data() + rest.size();
    const auto [parsed, error] = std::from_chars(begin, end, target.port);
    if (error != std::errc{} || parsed != end || target.port == 0)
      return make_error(ErrorCode::invalid_argument, "--url: '" + url + "' has no port after its colon",
                        "--url");
    rest.resize(colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  if (rest.empty())
    return make_error(ErrorCode::invalid_argument, "--url: '" + url + "' names no host", "--url");
  target.host = rest;
  return target;
}

Result<RunResult> run_load(const Target& target, const std::vector<Conversation>& conversations,
                           const LoadOptions& options, const std::function<void(const Progress&)>& progress) {
  if (conversations.empty()) return make_error(ErrorCode::invalid_argument, "nothing to send");
  return Run(target, conversations, options, progress).run();
}

}  // namespace baton::bench
