// A client that sends exactly the bytes it is told and reads HTTP answers: good and bad clients alike.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace baton::test {

struct RawReply {
  int status = 0;  // 0: the connection ended first
  std::map<std::string, std::string> headers;
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {  // RST instead of FIN
    const linger option{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &option, sizeof option);
    close();
  }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool post(const std::string& path, const std::string& body, const std::string& extra = "") {
    return with_body("POST", path, body, extra);
  }
  bool with_body(const std::string& method, const std::string& path, const std::string& body,
                 const std::string& extra = "") {
    return send(method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + extra +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  bool get(const std::string& path) { return send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }

  // One answer; 1xx ones are skipped but counted.
  RawReply read(bool head_request = false) {
    RawReply reply;
    do {
      reply = RawReply();
      while (buffer_.find("\r\n\r\n") == std::string::npos) {
        if (!more()) return reply;
      }
      read_head(reply);
      if (reply.status < 200) ++informational_;
    } while (reply.status < 200);
    if (head_request) return reply;
    if (reply.headers.contains("content-length")) {
      const std::size_t size = std::strtoul(reply.headers["content-length"].c_str(), nullptr, 10);
      while (buffer_.size() < size && more()) {
      }
      reply.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else if (reply.headers.contains("transfer-encoding")) {
      reply.body = read_chunks();
    } else {
      while (more()) {
      }
      reply.body = std::exchange(buffer_, {});
    }
    return reply;
  }
  // Until the body so far contains `text`.
  bool read_until(const std::string& text) {
    while (buffer_.find(text) == std::string::npos) {
      if (!more()) return false;
    }
    return true;
  }
  bool at_end() {  // the server has closed
    while (more()) {
    }
    return ended_;
  }
  int informational() const { return informational_; }
  bool chunks_complete() const { return chunks_complete_; }
  const std::string& buffered() const { return buffer_; }

 private:
  bool more() {
    pollfd wait{fd_, POLLIN, 0};
    if (fd_ < 0 || ended_ || ::poll(&wait, 1, 20000) <= 0) return false;
    char block[16384];
    const ssize_t n = ::recv(fd_, block, sizeof block, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(block, static_cast<std::size_t>(n));
    return true;
  }
  void read_head(RawReply& reply) {
    const std::size_t end = buffer_.find("\r\n\r\n");
    const std::string head = buffer_.substr(0, end);
    buffer_.erase(0, end + 4);
    reply.status = std::atoi(head.c_str() + std::strlen("HTTP/1.1 "));
    std::size_t line = head.find("\r\n");
    while (line != std::string::npos) {
      const std::size_t next = head.find("\r\n", line + 2);
      const std::string text = head.substr(line + 2, next == std::string::npos ? next : next - line - 2);
      const std::size_t colon = text.find(": ");
      if (colon != std::string::npos) reply.headers[text.substr(0, colon)] = text.substr(colon + 2);
      line = next;
    }
  }
  std::string read_chunks() {
    std::string body;
    chunks_complete_ = false;
    while (true) {
      while (buffer_.find("\r\n") == std::string::npos) {
        if (!more()) return body;
      }
      const std::size_t line = buffer_.find("\r\n");
      const std::size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!more()) return body;
      }
      body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) break;
    }
    chunks_complete_ = true;
    return body;
  }

  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  bool chunks_complete_ = false;
  int informational_ = 0;
  std::string buffer_;
};

}  // namespace baton::test
