// Takes a TCP listener of this process out of service without holding its descriptor.
//
// UCX 1.13 reads a peer's handshake on a thread of its own and then follows a pointer to the listener it came
// in on: one that is read after ucp_listener_destroy crashes the process. UCX offers no way to stop
// accepting, so this finds the sockets by their port. Linux only.
#pragma once

#include <cstdint>

namespace baton::transfer {

class ListenerDrain {
 public:
  // From here on the kernel drops new connections to `port`; the ones it had accepted remain.
  explicit ListenerDrain(std::uint16_t port);

  // True when no connection to the port is left, neither open nor waiting to be accepted. Ends the reading
  // side of the ones that are: UCX then lets go of them, in its own time. To be called again until true.
  bool drained() const;

 private:
  const std::uint16_t port_;
  int listener_ = -1;  // UCX's; -1: not found
};

}  // namespace baton::transfer
