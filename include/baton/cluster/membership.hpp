// Membership: where the other daemons can be dialed. It knows addresses only; who really is there, and
// whether it fits, the handshake of peer/ finds out.
//
// A source that does not answer, for however long, keeps its last view: nobody is forgotten because etcd or a
// name server is down. Every implementation passes the contract suite in test/cluster.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
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
  // Makes this node findable at `address`, where that is not given by configuration, from after watch() until
  // leave() or the end of this object. Does not wait: what cannot be reached now is tried again and again.
  virtual Result<void> announce(const NodeInfo& self, const std::string& address) = 0;
  // Takes back what was announced, soon; does not wait. What is watched stays watched.
  virtual void leave() = 0;
};

// The --peer list: never changes, announces nothing. invalid_argument names an entry that is no host:port.
Result<std::unique_ptr<Membership>> make_static_membership(const std::vector<std::string>& peers);

struct DnsOptions {
  // "name:port": its A and AAAA records; "_service._proto.name": its SRV records, and their targets' A and
  // AAAA.
  std::vector<std::string> names;
  std::string server;  // "address:port"; empty: the system's resolvers
  Duration interval = std::chrono::seconds(5);
  Duration timeout = std::chrono::seconds(5);  // of one round of questions
};
// Asks again and again. A name that fails, or has no records, keeps the addresses that it had; one that never
// had any is asked until it does. Announces nothing: whoever runs the name does. invalid_argument names a
// wrong name or server.
Result<std::unique_ptr<Membership>> make_dns_membership(DnsOptions options, Logger& logger);

struct EtcdOptions {
  std::vector<std::string> endpoints;                 // "http://host:port", tried in turn
  std::string prefix = "/baton/nodes/";               // a node's key is this and its name
  Duration lease_ttl = std::chrono::seconds(10);      // a dead node's key is gone after so long
  Duration timeout = std::chrono::seconds(3);         // of one request
  Duration watch_renewal = std::chrono::seconds(60);  // a frozen etcd looks like a quiet one, at most so long
};
// etcd v3 (3.4 or later) through its JSON gateway. Keys without a lease are read as well, for nodes that
// people enter by hand. invalid_argument names a wrong endpoint.
Result<std::unique_ptr<Membership>> make_etcd_membership(EtcdOptions options, Logger& logger);

// The union of several: their addresses in this order, each once. Announces in all.
std::unique_ptr<Membership> make_combined_membership(std::vector<std::unique_ptr<Membership>> sources);

}  // namespace baton
