// Many GETs at once over libcurl's multi interface, on the caller's thread: redirects, retries with backoff,
// resuming by Range, and a deadline for every wait.
//
// Invariant: the token goes to the endpoint's own scheme, host and port. Redirects are followed here, hop by
// hop, and not by libcurl, so that each hop is asked anew whether it may have the token. Neither the token
// nor a URL's query, which may hold a signature, gets into a message.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"

namespace baton::hub {

// Where a body goes. Called on the thread of HttpClient::run.
class Receiver {
 public:
  virtual ~Receiver() = default;
  // Bytes that are there already: the request asks for what follows them.
  virtual std::uint64_t offset() const = 0;
  // A body begins, at this byte of the content: offset(), or 0, and then all starts over. An error is final.
  virtual Result<void> begin(std::uint64_t at) = 0;
  virtual Result<void> take(std::string_view bytes) = 0;
  // The body has ended. False: it is not what was wanted, and offset() says from where to ask again.
  virtual Result<bool> complete() = 0;
};

// The text of an answer, up to kMostAnswerBytes.
class TextReceiver final : public Receiver {
 public:
  std::uint64_t offset() const override { return 0; }
  Result<void> begin(std::uint64_t) override;
  Result<void> take(std::string_view bytes) override;
  Result<bool> complete() override { return true; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

struct HttpReply {
  long status = 0;
  bool from_endpoint = true;  // and not from where it redirects to
  std::string link = {};      // headers, empty where they did not come
  std::string location = {};
  std::string error_code = {};  // X-Error-Code: GatedRepo, RepoNotFound, RevisionNotFound, ...
  std::string retry_after = {};
  std::string content_range = {};
};

struct HttpRequest {
  std::string url;
  std::string name;  // for messages
  Receiver* receiver = nullptr;
  // The error of a final status (4xx, but for 408, 416 and 429).
  std::function<Error(const HttpReply&)> refused;
  Duration limit{};      // for one hop and its whole body; zero: as long as bytes come
  HttpReply reply = {};  // of the last attempt
};

struct HttpOptions {
  std::string endpoint;  // whose origin gets the token
  std::string token;     // empty: none
  std::string user_agent;
  Duration connect_timeout = std::chrono::seconds(20);
  Duration stall_timeout = std::chrono::seconds(30);
  Duration first_pause = std::chrono::milliseconds(500);  // doubles with each try
  Duration longest_pause = std::chrono::minutes(2);       // whatever Retry-After says
  int tries = 5;                                          // in a row that bring no new byte
  std::function<bool()> keep_going;                       // asked at least every 200 ms
  std::function<void(const std::string&)> note;           // each retry, and why
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Runs all, at most `at_once` at the same time. The first error ends all; what has arrived stays with the
  // receivers.
  Result<void> run(std::vector<HttpRequest>& requests, std::size_t at_once);
  Result<void> run(HttpRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of an absolute http or https URL: "https://host:443", lower case, the port always; nothing for others.
std::optional<std::string> origin_of(const std::string& url);
// `reference` as seen from `base`.
std::optional<std::string> resolve_url(const std::string& base, const std::string& reference);
// Without user, query and fragment: fit for messages.
std::string plain_url(const std::string& url);
// Seconds of a Retry-After header, which may also be a date; nothing where it is neither.
std::optional<Duration> parse_retry_after(const std::string& text, std::int64_t now_unix_s);
// The first byte that "bytes 100-199/200" names.
std::optional<std::uint64_t> range_begin(const std::string& content_range);

}  // namespace baton::hub
