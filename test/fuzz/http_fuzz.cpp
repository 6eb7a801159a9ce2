// HTTP bytes through the request parser and the routing table. The first byte says in which pieces they
// arrive: the outcome must not depend on it, and what was not consumed must be the input's tail.
#include <cstddef>
#include <cstdint>
#include <string>

#include "frontend/http_parser.hpp"
#include "frontend/http_writer.hpp"
#include "frontend/routes.hpp"

namespace {

using baton::frontend::HttpRequest;
using baton::frontend::HttpRequestParser;
using Progress = HttpRequestParser::Progress;

struct Outcome {
  Progress progress = Progress::need_more;
  int status = 0;
  HttpRequest request;
  std::string left;
};

Outcome parse(const std::string& bytes, std::size_t piece) {
  HttpRequestParser parser({.header_bytes = 512, .body_bytes = 256});
  Outcome out;
  std::size_t at = 0;
  while (at < bytes.size() && out.progress != Progress::complete && out.progress != Progress::failed) {
    const std::size_t n = std::min(piece, bytes.size() - at);
    out.left.append(bytes, at, n);
    at += n;
    out.progress = parser.feed(out.left);
  }
  out.left.append(bytes, at);
  if (out.progress == Progress::complete) out.request = parser.take_request();
  if (out.progress == Progress::failed) out.status = parser.error().status;
  return out;
}

void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = parse(bytes, bytes.size());
  const Outcome split = parse(bytes, 1 + data[0] % 16);
  require((whole.progress == Progress::complete) == (split.progress == Progress::complete));
  if (whole.progress == Progress::failed) require(whole.status >= 400 && whole.status < 500);
  if (whole.progress != Progress::complete) return 0;
  require(whole.request.target == split.request.target && whole.request.body == split.request.body);
  require(whole.request.body.size() <= 256 && bytes.ends_with(whole.left) && whole.left == split.left);
  const auto route = baton::frontend::find_route(whole.request.method, whole.request.target);
  require(route.status == 200 || route.status == 404 || route.status == 405);
  baton::frontend::HttpReply reply;
  reply.headers.emplace_back("x-target", whole.request.target);
  const std::string head = baton::frontend::serialize(reply, {});
  require(head.find("\r\n\r\n") == head.size() - 4);
  return 0;
}
