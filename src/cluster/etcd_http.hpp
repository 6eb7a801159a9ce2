// One HTTP/1.1 request and its answer, whole or line by line: as much of a client as etcd's JSON gateway
// needs. Beast stays in the .cpp.
//
// Everything runs on one io_context's thread; every wait has a deadline. An exchange that goes out of scope
// closes its connection.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/address.hpp"

namespace baton::cluster {

class HttpExchange {
 public:
  // Connects, posts, and reads the answer's header. unavailable says why not.
  static boost::asio::awaitable<Result<std::unique_ptr<HttpExchange>>> post(HostPort server, std::string path,
                                                                            std::string body,
                                                                            Duration timeout);
  ~HttpExchange();

  int status() const;
  // What is left of the body. too_large beyond some MiB.
  boost::asio::awaitable<Result<std::string>> read_all(Duration timeout);
  // The next line that is not empty, without its end. deadline_exceeded where none comes in time (then only
  // the destructor may follow), unavailable at the end.
  boost::asio::awaitable<Result<std::string>> read_line(Duration timeout);

 private:
  struct State;
  explicit HttpExchange(std::unique_ptr<State> state);
  boost::asio::awaitable<Result<void>> read_some();

  std::unique_ptr<State> state_;
};

}  // namespace baton::cluster
