// An incremental HTTP/1.x request parser over bytes: Boost.Beast's grammar behind a plain interface, so that
// sessions, tests and the fuzzer run exactly the same code and only one file pays for Beast.
//
// Invariant: consumes only bytes of the current request; what a client pipelined behind it stays in the
// buffer. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "frontend/errors.hpp"
#include "frontend/http_message.hpp"

namespace baton::frontend {

struct HttpLimits {
  std::size_t header_bytes = 32 * 1024;
  std::size_t body_bytes = 4 << 20;
};

class HttpRequestParser {
 public:
  explicit HttpRequestParser(const HttpLimits& limits);
  ~HttpRequestParser();

  enum class Progress {
    need_more,
    header_done,  // once, where a body is still to come
    complete,
    failed,  // error() says why; the connection cannot be used any further
  };
  // Takes what it can from the front of `buffer`.
  Progress feed(std::string& buffer);

  bool in_body() const;
  bool expects_continue() const;
  HttpRequest head() const;    // without the body, once the header is done
  HttpRequest take_request();  // after complete
  const ApiError& error() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton::frontend
