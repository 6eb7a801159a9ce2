#include "bench/http_response.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

namespace baton::bench {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

}  // namespace

struct HttpResponse::Parser final : http::basic_parser<false> {
  std::function<void(std::string_view)> body;
  std::string pending;  // of a header that is not whole yet: Beast wants it at once
  int code = 0;

  void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int status, string_view, int, error_code&) override { code = status; }
  void on_field_impl(http::field, string_view, string_view, error_code&) override {}
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view bytes, error_code&) override {
    body({bytes.data(), bytes.size()});
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code&) override {
    body({bytes.data(), bytes.size()});
    return bytes.size();
  }
  void on_finish_impl(error_code&) override {}
};

HttpResponse::HttpResponse(std::function<void(std::string_view)> body) : parser_(std::make_unique<Parser>()) {
  parser_->body = std::move(body);
  parser_->body_limit(boost::none);
  parser_->eager(true);
}
HttpResponse::~HttpResponse() = default;

Result<std::size_t> HttpResponse::feed(std::string_view bytes) {
  const std::size_t before = parser_->pending.size();
  parser_->pending += bytes;
  std::size_t used = 0;
  while (used < parser_->pending.size() && !parser_->is_done()) {
    error_code error;
    const std::size_t took = parser_->put(
        boost::asio::buffer(parser_->pending.data() + used, parser_->pending.size() - used), error);
    used += took;
    if (error == http::error::need_more) break;
    if (error) return make_error(ErrorCode::corrupt, "the answer is not HTTP: " + error.message());
    if (took == 0) break;
  }
  parser_->pending.erase(0, used);
  if (!parser_->is_done()) return bytes.size();
  return used - std::min(used, before);
}

void HttpResponse::closed() {
  error_code ignored;
  if (parser_->is_header_done()) parser_->put_eof(ignored);
}

bool HttpResponse::done() const { return parser_->is_done(); }
int HttpResponse::status() const { return parser_->code; }
bool HttpResponse::keep_alive() const { return parser_->is_header_done() && parser_->keep_alive(); }

}  // namespace baton::bench
