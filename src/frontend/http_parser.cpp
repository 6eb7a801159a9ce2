#include "frontend/http_parser.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/string_body.hpp>
#include <iterator>

namespace baton::frontend {
namespace {

namespace http = boost::beast::http;

constexpr std::size_t kHeaderMargin = 1024;

ApiError header_failure(const HttpLimits& limits) {
  return http_error(
      431, "The request's headers are larger than " + std::to_string(limits.header_bytes) + " bytes.");
}

ApiError parse_failure(const boost::system::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit) return header_failure(limits);
  if (error == http::error::body_limit) {
    return http_error(413,
                      "The request's body is larger than " + std::to_string(limits.body_bytes) + " bytes.");
  }
  return http_error(400, "This is not a valid HTTP/1.1 request: " + error.message() + ".");
}

// Where a message ends must be beyond doubt, or a proxy in front and we could see different requests (RFC
// 9112, 6.1 and 6.3). Beast reads an unknown coding as no body.
bool has_clear_length(const http::fields& fields, unsigned version) {
  const auto encodings = fields.equal_range(http::field::transfer_encoding);
  if (encodings.first == encodings.second) return true;
  return version >= 11 && std::next(encodings.first) == encodings.second &&
         boost::beast::iequals(encodings.first->value(), "chunked") &&
         fields.find(http::field::content_length) == fields.end();
}

}  // namespace

struct HttpRequestParser::State {
  HttpLimits limits;
  http::request_parser<http::string_body> parser;
  std::size_t header_bytes = 0;  // taken so far, the request line included
  bool header_reported = false;
  ApiError error;
};

HttpRequestParser::HttpRequestParser(const HttpLimits& limits) : state_(std::make_unique<State>()) {
  state_->limits = limits;
  // Beast counts the request line or not, depending on the pieces it comes in: we count ourselves.
  state_->parser.header_limit(static_cast<std::uint32_t>(2 * limits.header_bytes + kHeaderMargin));
  state_->parser.body_limit(limits.body_bytes);
}

HttpRequestParser::~HttpRequestParser() = default;

HttpRequestParser::Progress HttpRequestParser::feed(std::string& buffer) {
  auto& parser = state_->parser;
  std::size_t used = 0;
  boost::system::error_code error;
  while (used < buffer.size() && !parser.is_done()) {
    error.clear();
    const bool in_header = !parser.is_header_done();
    parser.eager(!in_header);  // so that the header's end is seen
    const std::size_t n = parser.put(boost::asio::buffer(buffer.data() + used, buffer.size() - used), error);
    used += n;
    if (in_header) state_->header_bytes += n;
    if (error == http::error::need_more) {
      error.clear();
      break;
    }
    if (error) break;
    if (n == 0 && !parser.is_done()) break;
  }
  buffer.erase(0, used);
  const std::size_t header = state_->header_bytes + (parser.is_header_done() ? 0 : buffer.size());
  if (header > state_->limits.header_bytes) {
    state_->error = header_failure(state_->limits);
    return Progress::failed;
  }
  if (error) {
    state_->error = parse_failure(error, state_->limits);
    return Progress::failed;
  }
  if (parser.is_header_done() && !has_clear_length(parser.get(), parser.get().version())) {
    state_->error =
        http_error(400, "The only transfer encoding understood here is 'chunked', without a Content-Length.");
    return Progress::failed;
  }
  if (parser.is_done()) return Progress::complete;
  if (parser.is_header_done() && !state_->header_reported) {
    state_->header_reported = true;
    return Progress::header_done;
  }
  return Progress::need_more;
}

bool HttpRequestParser::in_body() const { return state_->parser.is_header_done(); }

bool HttpRequestParser::expects_continue() const {
  const auto& message = state_->parser.get();
  return message.version() >= 11 && boost::beast::iequals(message[http::field::expect], "100-continue");
}

HttpRequest HttpRequestParser::head() const {
  const auto& message = state_->parser.get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.authorization = std::string(message[http::field::authorization]);
  request.x_api_key = std::string(message["x-api-key"]);
  request.version = static_cast<int>(message.version());
  request.keep_alive = message.keep_alive();
  return request;
}

HttpRequest HttpRequestParser::take_request() {
  HttpRequest request = head();
  request.body = std::move(state_->parser.get().body());
  return request;
}

const ApiError& HttpRequestParser::error() const { return state_->error; }

}  // namespace baton::frontend
