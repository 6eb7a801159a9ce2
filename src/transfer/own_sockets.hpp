// The sockets of this process, for the sake of those that a library opened and does not show. Linux only.
#pragma once

#include <cstdint>
#include <vector>

namespace baton::transfer {

std::vector<int> own_sockets();    // descriptors of IP sockets
std::uint16_t local_port(int fd);  // host byte order; 0 where it is no IP socket
bool listens(int fd);

}  // namespace baton::transfer
