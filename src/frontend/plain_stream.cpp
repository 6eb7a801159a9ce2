#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "frontend/byte_stream.hpp"

namespace baton::frontend {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {
    ErrorCode ignored;
    socket_.non_blocking(true, ignored);
  }

  tcp::socket& socket() override { return socket_; }

  void read_some(std::span<char> into, ReadHandler done) override {
    socket_.async_read_some(asio::buffer(into.data(), into.size()), std::move(done));
  }

  std::size_t write_now(std::string_view data, ErrorCode& error) override {
    const std::size_t n = socket_.write_some(asio::buffer(data.data(), data.size()), error);
    if (error == asio::error::would_block) error.clear();
    return n;
  }

  asio::awaitable<std::size_t> write_some(std::string_view data, ErrorCode& error) override {
    co_return co_await socket_.async_write_some(asio::buffer(data.data(), data.size()),
                                                asio::redirect_error(asio::use_awaitable, error));
  }

  void end_writing(std::function<void()> done) override {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    done();
  }

 private:
  tcp::socket socket_;
};

}  // namespace

std::unique_ptr<ByteStream> make_plain_stream(tcp::socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

}  // namespace baton::frontend
