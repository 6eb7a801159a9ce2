// A UCX transport to whose connections nobody can answer.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include "baton/transfer/kv_transport.hpp"
#include "transfer/own_sockets.hpp"
#include "transfer/ucx_address.hpp"

namespace baton::test {

// From here on, connecting to the ports of UCX's tcp transport is refused; its connection manager still
// answers. A connection thus gets as far as one side's attempt to connect to the other. `transport` is the
// only one of this process, and has accepted nothing yet.
inline void deafen(const KvTransport& transport) {
  const auto address = transfer::parse_ucx_address(transport.address());
  for (const int fd : transfer::own_sockets()) {
    if (!transfer::listens(fd) || transfer::local_port(fd) == address->port) continue;
    const int idle = ::socket(AF_INET, SOCK_STREAM, 0);  // in its place: UCX closes what it thinks is its own
    (void)::dup2(idle, fd);
    (void)::close(idle);
  }
}

}  // namespace baton::test
