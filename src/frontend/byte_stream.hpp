// What a Connection reads and writes through: a TCP socket as it is, or TLS over one. Everything above it,
// deadlines included, is the same code for both; Asio's TLS templates stay in tls.cpp.
//
// Invariant: used on the socket's strand, with at most one read and one write under way. A pending operation
// ends with an error when the socket is closed. The caller keeps the stream alive until its operations end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace baton::frontend {

class ByteStream {
 public:
  using ErrorCode = boost::system::error_code;
  using ReadHandler = std::function<void(const ErrorCode&, std::size_t)>;

  virtual ~ByteStream() = default;
  virtual boost::asio::ip::tcp::socket& socket() = 0;

  virtual void read_some(std::span<char> into, ReadHandler done) = 0;
  // What goes out without waiting; 0 without an error: it would have to wait.
  virtual std::size_t write_now(std::string_view data, ErrorCode& error) = 0;
  // At least one byte, or an error.
  virtual boost::asio::awaitable<std::size_t> write_some(std::string_view data, ErrorCode& error) = 0;
  // Tells the peer that nothing more comes; `done` is called once that is on its way or has failed.
  virtual void end_writing(std::function<void()> done) = 0;
};

std::unique_ptr<ByteStream> make_plain_stream(boost::asio::ip::tcp::socket socket);

}  // namespace baton::frontend
