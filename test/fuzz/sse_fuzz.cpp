// What a server sends to the load generator: events however they are cut, metrics, HTTP. Whatever the bytes,
// reading ends, and cutting them elsewhere changes nothing.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "baton/bench/report.hpp"
#include "baton/bench/sse.hpp"
#include "bench/http_response.hpp"

namespace {

std::vector<std::string> events(std::string_view bytes, std::size_t piece) {
  baton::bench::SseParser parser;
  std::vector<std::string> all;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    parser.feed(bytes.substr(at, piece), [&](std::string_view data) { all.emplace_back(data); });
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (events(text, 1) != events(text, 7) || events(text, 7) != events(text, size + 1)) std::abort();
  (void)baton::bench::parse_metrics(text);
  std::string body;
  baton::bench::HttpResponse response([&](std::string_view part) { body += part; });
  for (std::size_t at = 0; at < size && !response.done(); at += 5)
    if (!response.feed(text.substr(at, 5))) return 0;
  response.closed();
  return 0;
}
