// Blocking sockets on the loopback interface, for what tests put beside or against the code.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace baton::test {

using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

inline constexpr auto kPatience = 20s;  // for what must happen; nothing is asserted about how fast

class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Socket() { reset(-1); }
  int fd() const { return fd_; }
  void shut() const { ::shutdown(fd_, SHUT_RDWR); }

 private:
  void reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  int fd_;
};

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline std::pair<Socket, std::uint16_t> listen_anywhere() {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  REQUIRE(::bind(socket.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(socket.fd(), 64) == 0);
  socklen_t size = sizeof address;
  ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  return {std::move(socket), ntohs(address.sin_port)};
}

inline Socket connect_to(std::uint16_t port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Socket();
  return socket;
}

inline bool write_all(const Socket& socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

// Appends what arrives next; false at the end of the stream (or after kPatience).
inline bool read_some(const Socket& socket, Bytes& into) {
  pollfd wait{socket.fd(), POLLIN, 0};
  if (::poll(&wait, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) <= 0) return false;
  std::byte chunk[4096];
  const ssize_t n = ::recv(socket.fd(), chunk, sizeof chunk, 0);
  if (n <= 0) return false;
  into.insert(into.end(), chunk, chunk + n);
  return true;
}

inline Bytes read_to_end(const Socket& socket) {
  Bytes all;
  while (read_some(socket, all)) {
  }
  return all;
}

// A port that was free a moment ago, for nodes that must know each other's before either has started.
inline std::uint16_t free_port() { return listen_anywhere().second; }

// Polls: for conditions that no event announces.
template <class Predicate>
bool eventually(Predicate predicate) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

}  // namespace baton::test
