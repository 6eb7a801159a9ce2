// Lets only known addresses connect to the TCP sockets on which UCX listens.
//
// UCX 1.13 trusts whoever connects: sixteen wrong bytes at its connection manager's port stop the process at
// an assertion. It takes no part in our handshake, so the kernel is told from which addresses a connection
// may come: those of peers that proved themselves on the control stream. Packets of others are dropped before
// they reach UCX. Linux only (classic BPF on the listening sockets; no privilege needed).
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ucx_address.hpp"

struct sock_filter;

namespace baton::transfer {

class SourceFilter {
 public:
  // The sockets that are listening now. Those that UCX opens are the difference of two such sets.
  static std::set<int> listening_sockets();

  // From here on `sockets` accept from this machine's loopback only.
  void guard(std::set<int> sockets);
  void allow(const std::string& peer, std::vector<IpAddress> sources);
  void forget(const std::string& peer);

 private:
  void apply() const;
  std::set<int> sockets_;  // UCX's: open as long as its workers and listener are
  std::map<std::string, std::vector<IpAddress>> allowed_;
};

// The program: accepts packets from these addresses and from loopback. At most kMostSources are looked at.
inline constexpr std::size_t kMostSources = 400;
std::vector<sock_filter> source_program(const std::vector<IpAddress>& sources);

}  // namespace baton::transfer
