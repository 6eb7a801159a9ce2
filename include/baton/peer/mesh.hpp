// PeerMesh: one authenticated, multiplexed control stream to every other daemon.
//
// It listens, dials the addresses it is given again and again with backoff, proves the cluster secret both
// ways, refuses what does not match (naming the field), and reports peers going up and down. Heartbeats both
// ways; a peer silent for `silence` is down. Frames carry a MAC and a counter. Thread-safe. Callbacks come
// from the mesh's own io thread, in order for each peer, and must not block; they may call send(),
// broadcast() and the accessors, but not stop(). For each peer: up, messages, down, and again; after stop()
// was called, no more. Two nodes that dial each other end with one connection, chosen before any message
// travels on it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
#include "baton/base/metrics.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/messages.hpp"

namespace baton {

inline constexpr std::uint32_t kPeerProtocol = 6;

// What a daemon says of itself in the handshake. Peers must agree in the fields marked (=).
struct NodeInfo {
  std::string name;          // unique in the cluster
  std::string http_address;  // host:port, for people
  Role role = Role::mixed;
  std::string model_name;     // (=) served name
  Hash128 model_fingerprint;  // (=)
  std::string kv_layout;      // (=) KvLayout::id(), with dtype and block size
  std::string numerics;       // unequal ids are allowed, with a warning
  std::string version;        // of the daemon, for people
  std::vector<std::byte> transport_address;
  std::string transport;          // (=) "ucx"
  std::int32_t max_context = 0;   // tokens of one sequence, prompt and answer
  std::vector<Hash128> adapters;  // AdapterInfo::fingerprint of those that its engine has
};

struct MeshOptions {
  std::string listen_host = "127.0.0.1";
  std::uint16_t listen_port = 0;   // 0: any free one
  std::vector<std::string> peers;  // "host:port", dialed from the start; later set_peers() replaces them
  std::string secret;              // may be empty (loopback only; the app enforces that)
  Duration heartbeat = std::chrono::milliseconds(500);
  Duration silence = std::chrono::seconds(3);
  Duration handshake_timeout = std::chrono::seconds(5);
  std::size_t max_frame_bytes = 64 << 20;
  std::size_t max_queued_bytes = 256 << 20;  // towards one peer; beyond it the peer is dropped as too slow
};

class PeerEvents {
 public:
  virtual ~PeerEvents() = default;
  virtual void on_peer_up(const NodeInfo& peer) = 0;
  virtual void on_peer_down(const std::string& name, const Error& why) = 0;
  virtual void on_message(const std::string& from, Message message) = 0;
  virtual StatusMessage on_heartbeat() = 0;  // sent along with each heartbeat
};

// One address that is dialed, for people: the logs say why nobody is there.
struct PeerLink {
  std::string address;  // as given
  std::string name;     // once it has introduced itself
  bool connected = false;
  std::string problem;  // why not
};

class PeerMesh {
 public:
  PeerMesh(MeshOptions options, NodeInfo self, PeerEvents& events, Logger& logger, MetricsRegistry& metrics);
  ~PeerMesh();  // stops

  // The bound port. io names the address where it is taken; invalid_argument names a wrong option. Once only.
  Result<std::uint16_t> start();
  void stop();  // says goodbye, joins the io thread within a second; no callback after it returns
  bool send(const std::string& peer,
            const Message& message);  // false: not connected (or dropped as too slow)
  void broadcast(const Message& message);
  // From now on these "host:port" are dialed, and no others; what is no such address is left out with a
  // warning. Any time after start(); takes effect soon, on the io thread. A connection that lives is never
  // cut because its address is gone: only heartbeats decide that.
  void set_peers(std::vector<std::string> addresses);
  std::vector<NodeInfo> peers() const;  // connected now
  std::vector<PeerLink> links() const;  // one for each address that is dialed and is not this node itself

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
