// One HTTP/1.1 response out of a byte stream, by Beast's parser. Bodies are handed on as they come.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::bench {

class HttpResponse {
 public:
  explicit HttpResponse(std::function<void(std::string_view)> body);
  ~HttpResponse();
  // Bytes that belong to this response; the rest is another's. An error: not HTTP.
  Result<std::size_t> feed(std::string_view bytes);
  void closed();  // the peer ended the stream
  bool done() const;
  int status() const;  // 0 before the header is there
  bool keep_alive() const;

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace baton::bench
