// An OpenAI-like server whose answers come at scripted times: nothing is computed. For the load generator's
// tests.
//
// Every request is answered by `tokens` pieces: the first after `ttft`, the others `itl` apart. The server
// notes by its own clock when a request had come and when each piece left: what a client may measure. One
// thread.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

namespace baton::bench_test {

namespace asio = boost::asio;
using asio::ip::tcp;

struct Script {
  double ttft = 0.05, itl = 0.01;  // seconds
  int tokens = 20;
  int status = 200;
  int cut_after = 0;       // pieces after which the connection is closed; 0: never
  bool reasoning = false;  // all pieces are, under both of its names
};

struct Served {  // seconds of the steady clock
  double came = 0, first = 0, last = 0;
  std::size_t body = 0;  // bytes of the request's
};

class ScriptedServer {
 public:
  ScriptedServer(const Script& script, std::uint16_t port = 0)
      : script_(script), acceptor_(io_, {asio::ip::address_v4::loopback(), port}) {
    asio::co_spawn(io_, accept(), asio::detached);
  }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void run() { io_.run(); }
  void stop() { io_.stop(); }
  const std::vector<Served>& served() const { return served_; }  // after stop()

 private:
  static constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  asio::awaitable<void> accept() {
    for (;;) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) co_return;
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      asio::co_spawn(io_, serve(std::move(socket)), asio::detached);
    }
  }

  // One event with `choices` and, at the end, `usage`.
  static std::string event(const std::string& choices, const std::string& usage = "") {
    return "data: {\"id\": \"x\", \"object\": \"chat.completion.chunk\", \"created\": 1, \"model\": \"m\", "
           "\"choices\": [" +
           choices + "]" + usage + "}\n\n";
  }
  std::string delta(const std::string& text) const {
    const std::string fields = script_.reasoning
                                   ? R"("reasoning_content": ")" + text + R"(", "reasoning": ")" + text + '"'
                                   : R"("content": ")" + text + '"';
    return R"({"index": 0, "finish_reason": null, "delta": {"role": "assistant", )" + fields + "}}";
  }

  static std::string chunk(const std::string& text) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", text.size());
    return size + text + "\r\n";
  }

  asio::awaitable<void> serve(tcp::socket socket) {
    std::string buffer;
    asio::steady_timer timer(io_);
    for (;;) {
      auto [error, head] =
          co_await asio::async_read_until(socket, asio::dynamic_buffer(buffer), "\r\n\r\n", kAwait);
      if (error) co_return;
      const std::size_t at = buffer.find("Content-Length: ");
      const std::size_t body = at == buffer.npos ? 0 : std::strtoul(buffer.c_str() + at + 16, nullptr, 10);
      if (buffer.size() < head + body) {
        auto [failed, count] =
            co_await asio::async_read(socket, asio::dynamic_buffer(buffer),
                                      asio::transfer_exactly(head + body - buffer.size()), kAwait);
        if (failed) co_return;
      }
      buffer.erase(0, head + body);
      Served times;
      times.came = now();
      times.body = body;
      if (script_.status != 200) {
        const std::string error_body = R"({"error": {"message": "scripted"}})";
        const std::string text = "HTTP/1.1 " + std::to_string(script_.status) +
                                 " No\r\nContent-Length: " + std::to_string(error_body.size()) + "\r\n\r\n" +
                                 error_body;
        auto [failed, count] = co_await asio::async_write(socket, asio::buffer(text), kAwait);
        if (failed) co_return;
        continue;
      }
      std::string text =
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
          chunk(event(delta("")));
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < script_.tokens; ++i) {
        if (i == 0) {
          auto [failed, count] = co_await asio::async_write(socket, asio::buffer(text), kAwait);
          if (failed) co_return;
        }
        timer.expires_at(begin + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                     std::chrono::duration<double>(script_.ttft + i * script_.itl)));
        co_await timer.async_wait(kAwait);
        text = chunk(event(delta(" the")));
        (i == 0 ? times.first : times.last) = now();
        auto [failed, count] = co_await asio::async_write(socket, asio::buffer(text), kAwait);
        if (failed) co_return;
        if (script_.cut_after > 0 && i + 1 == script_.cut_after) co_return;
      }
      text = chunk("data: {\"choices\": [], \"usage\": {\"completion_tokens\": " +
                   std::to_string(script_.tokens) + ", \"prompt_tokens\": 7}}\n\n") +
             chunk("data: [DONE]\n\n") + "0\r\n\r\n";
      auto [failed, count] = co_await asio::async_write(socket, asio::buffer(text), kAwait);
      served_.push_back(times);
      if (failed) co_return;
    }
  }

  Script script_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  std::vector<Served> served_;
};

}  // namespace baton::bench_test
