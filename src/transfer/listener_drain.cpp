#include "listener_drain.hpp"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

namespace baton::transfer {
namespace {

// Host byte order; 0 where it is not an IP socket.
std::uint16_t local_port(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

std::vector<int> sockets_on(std::uint16_t port) {
  std::vector<int> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", gone)) {
    const int fd = std::atoi(entry.path().filename().c_str());
    if (fd > 0 && local_port(fd) == port) found.push_back(fd);
  }
  return found;
}

bool listens(int fd) {
  int value = 0;
  socklen_t bytes = sizeof value;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &bytes) == 0 && value != 0;
}

}  // namespace

ListenerDrain::ListenerDrain(std::uint16_t port) : port_(port) {
  for (const int fd : sockets_on(port))
    if (listens(fd)) listener_ = fd;
  sock_filter drop_all[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog program{1, drop_all};
  if (listener_ >= 0) (void)setsockopt(listener_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

bool ListenerDrain::drained() const {
  bool empty = true;
  for (const int fd : sockets_on(port_)) {
    if (fd == listener_) continue;
    empty = false;
    (void)shutdown(fd, SHUT_RD);
  }
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (listener_ >= 0 && getsockopt(listener_, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0)
    empty = empty && info.tcpi_unacked == 0;  // of a listener: how many wait to be accepted
  return empty;
}

}  // namespace baton::transfer
