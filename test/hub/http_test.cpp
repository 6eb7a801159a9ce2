#include "hub/http.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

// A socket that listens on loopback, and its port.
std::pair<int, std::uint16_t> listen_on_loopback() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener, 16) == 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  return {listener, ntohs(address.sin_port)};
}

// Listens on loopback and gives each connection in turn one scripted answer, after its request has come;
// keeps connections open where the script is at its end. The thread ends with the last answer.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<std::string> answers) {
    std::tie(listener_, port_) = listen_on_loopback();
    thread_ = std::thread([this, answers = std::move(answers)] {
      for (const std::string& answer : answers)
        if (!serve(answer)) return;
    });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url(const std::string& path = "/x") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  bool serve(const std::string& answer) {
    pollfd ready{listener_, POLLIN, 0};
    if (::poll(&ready, 1, 20'000) != 1) return false;
    const int client = ::accept(listener_, nullptr, nullptr);
    if (client < 0) return false;
    std::string request;
    char piece[1024];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(client, piece, sizeof piece, 0);
      if (got <= 0) break;
      request.append(piece, static_cast<std::size_t>(got));
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    (void)!::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    ::close(client);
    return true;
  }

  int listener_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;  // requests_ is read while the thread waits for more
  std::vector<std::string> requests_;
  std::thread thread_;
};

// A listener that never accepts: connections succeed, and then nothing comes.
class SilentServer {
 public:
  SilentServer() {
    std::uint16_t port = 0;
    std::tie(listener_, port) = listen_on_loopback();
    url = "http://127.0.0.1:" + std::to_string(port) + "/x";
  }
  ~SilentServer() { ::close(listener_); }
  std::string url;

 private:
  int listener_;
};

std::string answer(const std::string& status, const std::string& headers = "", const std::string& body = "") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n" + headers + "\r\n" + body;
}

// Collects text from an offset on.
class Collector final : public Receiver {
 public:
  explicit Collector(std::string there = "", std::size_t wanted = 0)
      : text(std::move(there)), wanted_(wanted) {}
  std::uint64_t offset() const override { return text.size(); }
  Result<void> begin(std::uint64_t at) override {
    text.resize(at);
    return {};
  }
  Result<void> take(std::string_view bytes) override {
    text += bytes;
    return {};
  }
  Result<bool> complete() override { return text.size() >= wanted_; }
  std::string text;

 private:
  std::size_t wanted_;
};

HttpOptions quick(const std::string& endpoint) {
  HttpOptions options;
  options.endpoint = endpoint;
  options.token = "hf_secret";
  options.user_agent = "test";
  options.first_pause = std::chrono::milliseconds(1);
  options.stall_timeout = std::chrono::seconds(1);
  options.tries = 3;
  return options;
}

struct Outcome {
  Result<void> result;
  std::string text;
};

Outcome get(const HttpOptions& options, const std::string& url, Collector collector = Collector()) {
  HttpClient client(options);
  HttpRequest request;
  request.url = url, request.name = "file", request.receiver = &collector;
  request.refused = [](const HttpReply& reply) {
    return make_error(ErrorCode::not_found, "refused " + std::to_string(reply.status));
  };
  auto result = client.run(request);
  return {std::move(result), collector.text};
}

}  // namespace

TEST_CASE("a server that says nothing is given up after the stall timeout, in each try") {
  const SilentServer server;
  HttpOptions options = quick(server.url);
  options.tries = 2;
  std::vector<std::string> notes;
  options.note = [&](const std::string& note) { notes.push_back(note); };
  const auto begin = std::chrono::steady_clock::now();
  const auto [result, text] = get(options, server.url);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::deadline_exceeded);
  CHECK(notes.size() == 1);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

TEST_CASE("a wait ends when it is told to") {
  const SilentServer server;
  HttpOptions options = quick(server.url);
  options.stall_timeout = std::chrono::minutes(10);
  int asked = 0;
  options.keep_going = [&] { return ++asked < 3; };
  const auto [result, text] = get(options, server.url);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::cancelled);
}

TEST_CASE("nobody there: a few tries, then the reason") {
  const std::string gone = [] { return SilentServer().url; }();
  const auto [result, text] = get(quick(gone), gone);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::unavailable);
  CHECK(result.error().message.find("3 tries") != std::string::npos);
}

TEST_CASE("a broken body goes on where it broke off") {
  const ScriptedServer server({"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
                               answer("206 Partial Content", "Content-Range: bytes 3-5/6\r\n", "def")});
  const auto [result, text] = get(quick(server.url()), server.url(), Collector("", 6));
  CHECK(result);
  CHECK(text == "abcdef");
  REQUIRE(server.requests().size() == 2);
  CHECK(server.requests()[0].find("Range:") == std::string::npos);
  CHECK(server.requests()[1].find("Range: bytes=3-\r\n") != std::string::npos);
}

TEST_CASE("a server that ignores Range, or sends another, or refuses it, makes it start over") {
  SECTION("ignored") {
    const ScriptedServer server({answer("200 OK", "", "abcdef")});
    const auto [result, text] = get(quick(server.url()), server.url(), Collector("abc", 6));
    CHECK(result);
    CHECK(text == "abcdef");
  }
  SECTION("another") {
    const ScriptedServer server({answer("206 Partial Content", "Content-Range: bytes 1-5/6\r\n", "bcdef"),
                                 answer("200 OK", "", "abcdef")});
    const auto [result, text] = get(quick(server.url()), server.url(), Collector("abc", 6));
    CHECK(result);
    CHECK(text == "abcdef");
    REQUIRE(server.requests().size() == 2);
    CHECK(server.requests()[1].find("Range:") == std::string::npos);
  }
  SECTION("no Content-Range") {
    const ScriptedServer server({answer("206 Partial Content", "", "def"), answer("200 OK", "", "abcdef")});
    const auto [result, text] = get(quick(server.url()), server.url(), Collector("abc", 6));
    CHECK(result);
    CHECK(text == "abcdef");
  }
  SECTION("refused") {
    const ScriptedServer server({answer("416 Range Not Satisfiable"), answer("200 OK", "", "abcdef")});
    const auto [result, text] = get(quick(server.url()), server.url(), Collector("abc", 6));
    CHECK(result);
    CHECK(text == "abcdef");
  }
}

TEST_CASE("a server that always cuts at the same place is given up") {
  const std::string cut = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
  const ScriptedServer server({cut, cut, cut, cut, cut});
  const auto [result, text] = get(quick(server.url()), server.url(), Collector("", 6));
  REQUIRE_FALSE(result);
  CHECK(result.error().message.find("3 tries") != std::string::npos);
}

TEST_CASE("redirects: the token stays with the endpoint, and nobody leads in circles or elsewhere") {
  SECTION("to another port") {
    const ScriptedServer other({answer("200 OK", "", "body")});
    const ScriptedServer server(
        {answer("302 Found", "Location: " + other.url("/y?signature=s") + "\r\n", "moved")});
    const auto [result, text] = get(quick(server.url()), server.url());
    CHECK(result);
    CHECK(text == "body");
    CHECK(server.requests().at(0).find("Authorization: Bearer hf_secret\r\n") != std::string::npos);
    CHECK(other.requests().at(0).find("uthorization") == std::string::npos);
    CHECK(other.requests().at(0).find("hf_secret") == std::string::npos);
    CHECK(other.requests().at(0).find("GET /y?signature=s ") == 0);
  }
  SECTION("on the endpoint") {
    const ScriptedServer server(
        {answer("307 Temporary Redirect", "Location: /renamed\r\n"), answer("200 OK", "", "body")});
    const auto [result, text] = get(quick(server.url()), server.url());
    CHECK(result);
    CHECK(server.requests().at(1).find("GET /renamed ") == 0);
    CHECK(server.requests().at(1).find("Authorization: Bearer hf_secret\r\n") != std::string::npos);
  }
  SECTION("in circles") {
    const std::string circle = answer("302 Found", "Location: /x\r\n");
    const ScriptedServer server({circle, circle, circle, circle, circle, circle, circle});
    const auto [result, text] = get(quick(server.url()), server.url());
    REQUIRE_FALSE(result);
    CHECK(result.error().message.find("redirects") != std::string::npos);
  }
  for (const char* target : {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "http://"}) {
    const ScriptedServer server({answer("302 Found", "Location: " + std::string(target) + "\r\n")});
    const auto [result, text] = get(quick(server.url()), server.url());
    REQUIRE_FALSE(result);
    CHECK(text.empty());
  }
}

TEST_CASE("a redirect whose page never ends is followed all the same") {
  const ScriptedServer server(
      {"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 99999999\r\n\r\n" + std::string(1 << 20, 'x'),
       answer("200 OK", "", "body")});
  const auto [result, text] = get(quick(server.url()), server.url());
  CHECK(result);
  CHECK(text == "body");
}

TEST_CASE("an answer without end is cut: headers, and text") {
  const ScriptedServer server({[] {
    std::string lines = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n";
    for (int i = 0; i < 4000; ++i) lines += "X-Filler: " + std::string(100, 'x') + "\r\n";
    return lines + "\r\nbody";
  }()});
  HttpOptions options = quick(server.url());
  options.tries = 1;
  CHECK_FALSE(get(options, server.url()).result);
  TextReceiver text;
  REQUIRE(text.begin(0));
  const std::string much(1 << 20, 'x');
  bool refused = false;
  for (int i = 0; i < 17 && !refused; ++i) refused = !text.take(much);
  CHECK(refused);
}

TEST_CASE("final answers are not asked for twice, passing ones are") {
  for (const char* status : {"401 Unauthorized", "403 Forbidden", "404 Not Found", "400 Bad Request"}) {
    const ScriptedServer server({answer(status)});
    const auto [result, text] = get(quick(server.url()), server.url());
    REQUIRE_FALSE(result);
    CHECK(result.error().message == "refused " + std::string(status).substr(0, 3));
    CHECK(server.requests().size() == 1);
  }
  for (const char* status : {"429 Too Many Requests", "500 Internal Server Error", "503 Service Unavailable",
                             "408 Request Timeout"}) {
    const ScriptedServer server({answer(status), answer(status), answer("200 OK", "", "body")});
    const auto [result, text] = get(quick(server.url()), server.url());
    CHECK(result);
    CHECK(text == "body");
  }
}

TEST_CASE("Retry-After is waited for, up to the longest pause") {
  const ScriptedServer server(
      {answer("429 Too Many Requests", "Retry-After: 86400\r\n"), answer("200 OK", "", "body")});
  HttpOptions options = quick(server.url());
  options.longest_pause = std::chrono::milliseconds(300);
  const auto begin = std::chrono::steady_clock::now();
  const auto [result, text] = get(options, server.url());
  CHECK(result);
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(300));
}

TEST_CASE("Retry-After in both of its forms") {
  constexpr std::int64_t kNow = 1445412480;  // Wed, 21 Oct 2015 07:28:00 GMT
  CHECK(parse_retry_after("7", kNow) == Duration(std::chrono::seconds(7)));
  CHECK(parse_retry_after("Wed, 21 Oct 2015 07:28:30 GMT", kNow) == Duration(std::chrono::seconds(30)));
  CHECK(parse_retry_after("Wed, 21 Oct 2015 07:27:00 GMT", kNow) == Duration(0));
  CHECK(parse_retry_after("-5", kNow) == Duration(0));
  CHECK(parse_retry_after("99999999999", kNow) == Duration(std::chrono::hours(24)));
  CHECK_FALSE(parse_retry_after("", kNow));
  CHECK_FALSE(parse_retry_after("soon", kNow));
}

TEST_CASE("origins: scheme, host and port") {
  CHECK(origin_of("https://HuggingFace.co/a?b#c") == "https://huggingface.co:443");
  CHECK(origin_of("http://127.0.0.1:8080") == "http://127.0.0.1:8080");
  CHECK(origin_of("https://huggingface.co@evil.example/") == "https://evil.example:443");
  CHECK(origin_of("https://huggingface.co.evil.example/") != origin_of("https://huggingface.co/"));
  CHECK(origin_of("http://huggingface.co") != origin_of("https://huggingface.co"));
  CHECK(origin_of("https://[::1]:9/") == "https://[::1]:9");
  for (const char* url : {"", "x", "/x", "ftp://h/x", "file:///x", "http://"}) CHECK_FALSE(origin_of(url));
}

TEST_CASE("messages show no secrets of a URL") {
  CHECK(plain_url("https://user:word@h/p?X-Signature=s#f") == "https://h/p");
  CHECK(resolve_url("http://h/a/b?c", "/d?e") == "http://h/d?e");
  CHECK(resolve_url("http://h/a/b", "https://i/c") == "https://i/c");
}

TEST_CASE("Content-Range") {
  CHECK(range_begin("bytes 3-5/6") == 3U);
  CHECK(range_begin("Bytes 0-5/*") == 0U);
  for (const char* text :
       {"", "bytes", "bytes */6", "bytes -5", "3-5/6", "bytes x-5/6", "bytes 99999999999999999999-1/2"})
    CHECK_FALSE(range_begin(text));
}

}  // namespace baton::hub::test
