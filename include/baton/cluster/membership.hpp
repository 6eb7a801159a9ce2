// Membership: where the other daemons can be dialed. It knows addresses only; who really is there, and
// whether it fits, the handshake of peer/ finds out.
//
// Every implementation passes the contract suite in test/cluster.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/peer/mesh.hpp"

namespace baton {

class Membership {
 public:
  using Watcher = std::function<void(const std::vector<std::string>& addresses)>;

  virtual ~Membership() = default;
  // Calls `watcher` with all known addresses ("host:port", each once) before it returns, and again whenever
  // they change, one call at a time, from a thread of its own choice; no more once this object is gone. Once
  // only.
  virtual void watch(Watcher watcher) = 0;
  // Makes this node findable at `address`, where that is not given by configuration.
  virtual Result<void> announce(const NodeInfo& self, const std::string& address) = 0;
};

// The --peer list: never changes, announces nothing. invalid_argument names an entry that is no host:port.
Result<std::unique_ptr<Membership>> make_static_membership(const std::vector<std::string>& peers);

}  // namespace baton
