#include "hub/http.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <ctime>

#include "hub/listing.hpp"

namespace baton::hub {
namespace {

constexpr int kMostHops = 5;
constexpr Duration kLongestPoll = std::chrono::milliseconds(100);
constexpr long kStalledBytesPerSecond = 1000;
constexpr std::size_t kMostHeaders = 256U << 10, kMostDropped = 256U << 10;  // bytes

struct EasyCloser {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct MultiCloser {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};

// One request on its way: its hops, its tries, and what its last answer said.
struct Exchange {
  enum class Phase : std::uint8_t { waiting, running, done };

  HttpRequest* request = nullptr;
  std::unique_ptr<CURL, EasyCloser> easy;
  Phase phase = Phase::waiting;
  TimePoint not_before{};
  std::string url;               // of the current hop
  int hops = 0;                  // since the first URL of this try
  int fruitless = 0;             // tries in a row that brought no new byte
  std::uint64_t furthest = 0;    // offset() at its highest
  std::uint64_t asked = 0;       // the byte that this try asked for first
  bool without_range = false;    // the server gave another range than it was asked for
  bool began = false;            // the receiver has been told of this body
  std::size_t headers = 0;       // bytes
  std::size_t dropped = 0;       // bytes of a body that nobody wants
  std::optional<Error> failure;  // the receiver's: final
  HttpReply& reply() const { return request->reply; }
};

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const auto first = text.find_first_not_of(kBlank);
  if (first == text.npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kBlank) - first + 1));
}

bool same_name(std::string_view a, std::string_view lower) {
  return std::ranges::equal(
      a, lower, [](char x, char y) { return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y; });
}

std::size_t on_header(const char* data, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  HttpReply& reply = exchange.reply();
  const std::string_view line(data, size * count);
  if ((exchange.headers += line.size()) > kMostHeaders) return 0;
  if (line.starts_with("HTTP/")) reply = {.from_endpoint = reply.from_endpoint};  // a new answer's headers
  const auto colon = line.find(':');
  if (colon == line.npos) return line.size();
  const std::string_view name = line.substr(0, colon);
  const auto keep = [&](std::string_view wanted, std::string& into) {
    if (same_name(name, wanted)) into = trimmed(line.substr(colon + 1));
  };
  keep("link", reply.link);
  keep("location", reply.location);
  keep("x-error-code", reply.error_code);
  keep("retry-after", reply.retry_after);
  keep("content-range", reply.content_range);
  return line.size();
}

// Tells the receiver where the body begins; false ends the transfer.
bool begin_body(Exchange& exchange) {
  exchange.began = true;
  std::uint64_t at = 0;
  if (exchange.reply().status == 206) {
    const auto begin = range_begin(exchange.reply().content_range);
    if (!begin || *begin != exchange.asked) {  // not what was asked for: ask for everything
      exchange.without_range = true;
      return false;
    }
    at = *begin;
  }
  if (auto begun = exchange.request->receiver->begin(at); !begun) exchange.failure = begun.error();
  return !exchange.failure;
}

bool is_content(long status) { return status == 200 || status == 206; }

std::size_t on_body(const char* data, std::size_t size, std::size_t count, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  const std::string_view bytes(data, size * count);
  curl_easy_getinfo(exchange.easy.get(), CURLINFO_RESPONSE_CODE, &exchange.reply().status);
  if (!is_content(exchange.reply().status)) {  // an error's page, or a redirect's
    exchange.dropped += bytes.size();
    return exchange.dropped > kMostDropped ? 0 : bytes.size();
  }
  if (!exchange.began && !begin_body(exchange)) return 0;
  if (auto taken = exchange.request->receiver->take(bytes); !taken) exchange.failure = taken.error();
  return exchange.failure ? 0 : bytes.size();
}

// Another try would end the same way.
bool is_final(CURLcode code) {
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
      return true;
    default:
      return false;
  }
}

bool goes_better_later(const HttpReply& reply) {
  return reply.status == 408 || reply.status == 416 || reply.status == 429 || reply.status >= 500 ||
         reply.status < 400 ||
         (!reply.from_endpoint && reply.status == 403);  // a signed address that has expired
}

}  // namespace

struct HttpClient::State {
  HttpOptions options;
  std::optional<std::string> origin;
  std::unique_ptr<CURLM, MultiCloser> multi;

  Result<void> run(std::vector<Exchange>& exchanges, std::size_t at_once);
  Result<bool> start_those_due(std::vector<Exchange>& exchanges, std::size_t at_once, TimePoint& next);
  Result<void> start(Exchange& exchange);
  Result<bool> finish_those_done();
  Result<void> finish(Exchange& exchange, CURLcode code);
  Result<void> follow(Exchange& exchange);
  Result<void> try_again(Exchange& exchange, const std::string& why, ErrorCode code);
};

HttpClient::HttpClient(HttpOptions options) : state_(std::make_unique<State>()) {
  state_->origin = origin_of(options.endpoint);
  state_->options = std::move(options);
  state_->multi.reset(curl_multi_init());
}
HttpClient::~HttpClient() = default;

Result<void> HttpClient::State::start(Exchange& exchange) {
  if (!exchange.easy) exchange.easy.reset(curl_easy_init());
  CURL* const easy = exchange.easy.get();
  if (easy == nullptr || !multi) return make_error(ErrorCode::internal, "libcurl does not start");
  curl_easy_reset(easy);
  exchange.began = false;
  exchange.headers = exchange.dropped = 0;
  exchange.asked = exchange.without_range ? 0 : exchange.request->receiver->offset();
  exchange.reply() = {.from_endpoint = origin_of(exchange.url) == origin};
  curl_easy_setopt(easy, CURLOPT_URL, exchange.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &exchange);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);  // follow() does it
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // or Ctrl-C waits for the name server
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(to_milliseconds(options.connect_timeout)));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, kStalledBytesPerSecond);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                   std::max(1L, static_cast<long>(to_seconds(options.stall_timeout))));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(to_milliseconds(exchange.request->limit)));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  if (exchange.asked > 0)
    curl_easy_setopt(easy, CURLOPT_RANGE, (std::to_string(exchange.asked) + "-").c_str());
  if (!options.token.empty() && origin && exchange.reply().from_endpoint) {
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, options.token.c_str());
  }
  if (const CURLMcode code = curl_multi_add_handle(multi.get(), easy); code != CURLM_OK)
    return make_error(ErrorCode::internal, curl_multi_strerror(code));
  exchange.phase = Exchange::Phase::running;
  return {};
}

// A Location is seen from the URL that answered. From https nobody leads us to http.
Result<void> HttpClient::State::follow(Exchange& exchange) {
  const std::string next = resolve_url(exchange.url, exchange.reply().location).value_or("");
  const auto there = origin_of(next);
  const std::string from = exchange.request->name + ": " + plain_url(exchange.url);
  if (!there) return make_error(ErrorCode::unavailable, from + " redirects to no http or https address");
  if (exchange.url.starts_with("https:") && !there->starts_with("https:"))
    return make_error(ErrorCode::unavailable, from + " redirects to an unencrypted address");
  if (++exchange.hops > kMostHops)
    return make_error(ErrorCode::unavailable,
                      exchange.request->name + ": more than " + std::to_string(kMostHops) + " redirects");
  exchange.url = next;
  exchange.phase = Exchange::Phase::waiting;
  exchange.not_before = {};
  return {};
}

Result<void> HttpClient::State::try_again(Exchange& exchange, const std::string& why, ErrorCode code) {
  const std::uint64_t offset = exchange.request->receiver->offset();
  if (offset > exchange.furthest) exchange.furthest = offset, exchange.fruitless = 0;
  if (++exchange.fruitless >= options.tries)
    return make_error(code, exchange.request->name + ": " + why + " (given up after " +
                                std::to_string(options.tries) + " tries)");
  Duration pause = options.first_pause * (1 << std::min(exchange.fruitless - 1, 16));
  if (const auto wanted = parse_retry_after(exchange.reply().retry_after, std::time(nullptr)))
    pause = std::max(pause, *wanted);
  pause = std::min(pause, options.longest_pause);
  if (options.note) {
    const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(pause).count() / 100;
    options.note(exchange.request->name + ": " + why + "; trying again in " + std::to_string(tenths / 10) +
                 "." + std::to_string(tenths % 10) + " s");
  }
  exchange.phase = Exchange::Phase::waiting;
  exchange.not_before = SteadyClock().now() + pause;
  exchange.url = exchange.request->url;
  exchange.hops = 0;
  return {};
}

Result<void> HttpClient::State::finish(Exchange& exchange, CURLcode code) {
  if (exchange.failure) return *exchange.failure;
  HttpReply& reply = exchange.reply();
  curl_easy_getinfo(exchange.easy.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  const std::string host = plain_url(exchange.url);
  if (code == CURLE_WRITE_ERROR && !is_content(reply.status)) code = CURLE_OK;  // enough of its page
  if (is_final(code))
    return make_error(ErrorCode::unavailable,
                      exchange.request->name + ": " + host + ": " + curl_easy_strerror(code));
  if (code != CURLE_OK) {
    const bool other_range = exchange.without_range && exchange.began && reply.status == 206;
    const bool stalled = code == CURLE_OPERATION_TIMEDOUT;
    return try_again(
        exchange,
        origin_of(host).value_or(host) + (other_range ? " sent another part than was asked for"
                                                      : std::string(": ") + curl_easy_strerror(code)),
        stalled ? ErrorCode::deadline_exceeded : ErrorCode::unavailable);
  }
  if (reply.status >= 300 && reply.status < 400 && reply.status != 304) return follow(exchange);
  if (is_content(reply.status)) {
    if (!exchange.began && !begin_body(exchange)) {  // an empty body
      if (exchange.failure) return *exchange.failure;
      return try_again(exchange, "another part came than was asked for", ErrorCode::unavailable);
    }
    const auto whole = exchange.request->receiver->complete();
    if (!whole) return whole.error();
    if (!*whole) return try_again(exchange, "what arrived is not the whole file", ErrorCode::unavailable);
    exchange.phase = Exchange::Phase::done;
    exchange.easy.reset();
    return {};
  }
  if (!goes_better_later(reply)) return exchange.request->refused(reply);
  if (reply.status == 416) exchange.without_range = true;
  return try_again(exchange, origin_of(host).value_or(host) + " answered " + std::to_string(reply.status),
                   reply.status == 429 ? ErrorCode::overloaded : ErrorCode::unavailable);
}

// True where there was one, so that there may be something to start at once.
Result<bool> HttpClient::State::finish_those_done() {
  bool any = false;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* context = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &context);
    auto& exchange = *reinterpret_cast<Exchange*>(context);
    curl_multi_remove_handle(multi.get(), message->easy_handle);
    exchange.phase = Exchange::Phase::done;
    if (auto finished = finish(exchange, code); !finished) return finished.error();
    any = true;
  }
  return any;
}

// False: none is left. `next` becomes the earliest end of a pause. Those that pause between two tries keep
// their place: a server that is short of breath gets no others.
Result<bool> HttpClient::State::start_those_due(std::vector<Exchange>& exchanges, std::size_t at_once,
                                                TimePoint& next) {
  std::size_t open = 0;
  for (Exchange& exchange : exchanges) {
    if (exchange.phase == Exchange::Phase::done) continue;
    if (++open > at_once) break;
    if (exchange.phase == Exchange::Phase::running) continue;
    if (exchange.not_before > SteadyClock().now()) {
      next = std::min(next, exchange.not_before);
    } else if (auto started = start(exchange); !started) {
      return started.error();
    }
  }
  return open > 0;
}

Result<void> HttpClient::State::run(std::vector<Exchange>& exchanges, std::size_t at_once) {
  TimePoint asked{};
  while (true) {
    TimePoint next = SteadyClock().now() + kLongestPoll;
    const auto left = start_those_due(exchanges, at_once, next);
    if (!left) return left.error();
    if (!*left) return {};
    int running = 0;
    if (const CURLMcode code = curl_multi_perform(multi.get(), &running); code != CURLM_OK)
      return make_error(ErrorCode::internal, curl_multi_strerror(code));
    const auto any = finish_those_done();
    if (!any) return any.error();
    const TimePoint now = SteadyClock().now();
    if (now - asked >= kLongestPoll / 2) {
      asked = now;
      if (options.keep_going && !options.keep_going()) return make_error(ErrorCode::cancelled, "interrupted");
    }
    const auto wait = static_cast<int>(std::max(0.0, to_milliseconds(next - now)));
    if (!*any) curl_multi_poll(multi.get(), nullptr, 0, wait, nullptr);
  }
}

Result<void> HttpClient::run(std::vector<HttpRequest>& requests, std::size_t at_once) {
  std::vector<Exchange> exchanges(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    exchanges[i].request = &requests[i];
    exchanges[i].url = requests[i].url;
    exchanges[i].furthest = requests[i].receiver->offset();
  }
  auto done = state_->run(exchanges, at_once);
  for (Exchange& exchange : exchanges)
    if (exchange.phase == Exchange::Phase::running)
      curl_multi_remove_handle(state_->multi.get(), exchange.easy.get());
  return done;
}

Result<void> HttpClient::run(HttpRequest& request) {
  std::vector<HttpRequest> one{std::move(request)};
  auto done = run(one, 1);
  request = std::move(one.front());
  return done;
}

Result<void> TextReceiver::begin(std::uint64_t) {
  text_.clear();
  return {};
}

Result<void> TextReceiver::take(std::string_view bytes) {
  if (text_.size() + bytes.size() > kMostAnswerBytes)
    return make_error(ErrorCode::corrupt, "the Hub's answer is larger than 16 MiB");
  text_ += bytes;
  return {};
}

}  // namespace baton::hub
