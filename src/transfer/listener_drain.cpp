#include "listener_drain.hpp"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "own_sockets.hpp"

namespace baton::transfer {
ListenerDrain::ListenerDrain(std::uint16_t port) : port_(port) {
  for (const int fd : own_sockets())
    if (local_port(fd) == port && listens(fd)) listener_ = fd;
  sock_filter drop_all[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog program{1, drop_all};
  if (listener_ >= 0) (void)setsockopt(listener_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

bool ListenerDrain::drained() const {
  bool empty = true;
  for (const int fd : own_sockets()) {
    if (fd == listener_ || local_port(fd) != port_) continue;
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
