// One HTTP request and one complete reply as plain values, so that routing, parsing and answering know
// neither Beast nor sockets.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace baton::frontend {

struct HttpRequest {
  std::string method;  // as sent: "GET"
  std::string target;  // as sent: "/v1/models?x=1"
  std::string body;
  std::string authorization;  // header values, as sent
  std::string x_api_key;
  int version = 11;  // 10 or 11
  bool keep_alive = true;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

}  // namespace baton::frontend
