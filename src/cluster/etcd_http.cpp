#include "cluster/etcd_http.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "baton/peer/resolve.hpp"

namespace baton::cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kMaxBodyBytes = 32 << 20;  // of an answer, and of one line of a stream

Error failed(const boost::system::error_code& error) {
  if (error == beast::error::timeout) return make_error(ErrorCode::deadline_exceeded, "no answer in time");
  if (error == http::error::partial_message || error == http::error::end_of_stream)
    return make_error(ErrorCode::unavailable, "the connection was cut");
  return make_error(ErrorCode::unavailable, error.message());
}

}  // namespace

struct HttpExchange::State {
  explicit State(const asio::any_io_executor& executor) : stream(executor) {
    parser.body_limit(boost::none);  // counted where it is kept
  }
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  std::array<char, 8192> chunk{};
  std::string body;  // read and not yet handed out
};

HttpExchange::HttpExchange(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpExchange::~HttpExchange() = default;

asio::awaitable<Result<std::unique_ptr<HttpExchange>>> HttpExchange::post(HostPort server, std::string path,
                                                                          std::string body,
                                                                          Duration timeout) {
  const auto endpoints = co_await peer::resolve(server, timeout);
  if (!endpoints) co_return endpoints.error();
  auto state = std::make_unique<State>(co_await asio::this_coro::executor);
  state->stream.expires_after(timeout);  // for all that follows
  const auto [not_connected, endpoint] = co_await state->stream.async_connect(*endpoints, kAwait);
  if (not_connected) co_return failed(not_connected);

  http::request<http::string_body> request(http::verb::post, path, 11);
  request.set(http::field::host, to_string(server));
  request.set(http::field::content_type, "application/json");
  request.set(http::field::connection, "close");
  // A member that has lost its leader answers with an error then, instead of with silence.
  request.set("Grpc-Metadata-Hasleader", "true");
  request.body() = std::move(body);
  request.prepare_payload();
  const auto [not_written, written] = co_await http::async_write(state->stream, request, kAwait);
  if (not_written) co_return failed(not_written);
  const auto [not_read, read] =
      co_await http::async_read_header(state->stream, state->buffer, state->parser, kAwait);
  if (not_read) co_return failed(not_read);
  co_return std::unique_ptr<HttpExchange>(new HttpExchange(std::move(state)));
}

int HttpExchange::status() const { return static_cast<int>(state_->parser.get().result_int()); }

asio::awaitable<Result<void>> HttpExchange::read_some() {
  auto& body = state_->parser.get().body();
  body.data = state_->chunk.data();
  body.size = state_->chunk.size();
  body.more = true;
  const auto [error, read] =
      co_await http::async_read_some(state_->stream, state_->buffer, state_->parser, kAwait);
  state_->body.append(state_->chunk.data(), state_->chunk.size() - body.size);
  if (error && error != http::error::need_buffer) co_return failed(error);
  if (state_->body.size() > kMaxBodyBytes)
    co_return make_error(ErrorCode::too_large, "the answer is too large");
  co_return Result<void>();
}

asio::awaitable<Result<std::string>> HttpExchange::read_all(Duration timeout) {
  state_->stream.expires_after(timeout);
  while (!state_->parser.is_done()) {
    const auto read = co_await read_some();
    if (!read) co_return read.error();
  }
  co_return std::move(state_->body);
}

asio::awaitable<Result<std::string>> HttpExchange::read_line(Duration timeout) {
  state_->stream.expires_after(timeout);
  std::size_t searched = 0;
  for (;;) {
    const std::size_t end = state_->body.find('\n', searched);
    const bool over = end == std::string::npos && state_->parser.is_done();
    if (end != std::string::npos || (over && !state_->body.empty())) {
      std::string line = state_->body.substr(0, end);
      state_->body.erase(0, end == std::string::npos ? end : end + 1);
      searched = 0;
      if (!line.empty()) co_return line;
      continue;
    }
    if (over) co_return make_error(ErrorCode::unavailable, "the stream has ended");
    searched = state_->body.size();
    const auto read = co_await read_some();
    if (!read) co_return read.error();
  }
}

}  // namespace baton::cluster
