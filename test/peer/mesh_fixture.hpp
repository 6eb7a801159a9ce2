// Whole nodes on the loopback interface, and what stands between and against them: a relay that can freeze or
// damage a stream, and a peer made of a bare socket that may do anything.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "baton/base/memory_metrics.hpp"
#include "baton/peer/mesh.hpp"
#include "peer/handshake.hpp"
#include "support/catch.hpp"
#include "support/recording_logger.hpp"
#include "support/sockets.hpp"

namespace baton::test {

// Records events as lines: "up b", "down b: why", and messages apart.
class Recorder : public PeerEvents {
 public:
  void on_peer_up(const NodeInfo& peer) override {
    record("up " + peer.name);
    if (when_up) when_up(peer);
  }
  void on_peer_down(const std::string& name, const Error& why) override {
    record("down " + name + ": " + why.message);
  }
  void on_message(const std::string& from, Message message) override {
    if (when_message) when_message(from, message);
    std::lock_guard lock(mutex_);
    if (std::holds_alternative<StatusMessage>(message)) {
      ++statuses_;
    } else {
      messages_.emplace_back(from, std::move(message));
    }
    changed_.notify_all();
  }
  StatusMessage on_heartbeat() override {
    StatusMessage status;
    status.ready = true;
    return status;
  }

  template <class Predicate>
  bool wait(Predicate predicate) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, predicate);
  }
  // The n-th event (from 0), or "" if it never comes.
  std::string event(std::size_t n) {
    if (!wait([&] { return events_.size() > n; })) return "";
    std::lock_guard lock(mutex_);
    return events_[n];
  }
  bool wait_messages(std::size_t count) {
    return wait([&] { return messages_.size() >= count; });
  }
  bool wait_statuses(std::size_t count) {
    return wait([&] { return statuses_ >= count; });
  }
  std::vector<std::string> events() {
    std::lock_guard lock(mutex_);
    return events_;
  }
  std::vector<std::pair<std::string, Message>> messages() {
    std::lock_guard lock(mutex_);
    return messages_;
  }

  // Set before the node starts; called on the io thread.
  std::function<void(const NodeInfo&)> when_up;
  std::function<void(const std::string&, const Message&)> when_message;

 private:
  void record(std::string event) {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
  std::vector<std::pair<std::string, Message>> messages_;
  std::size_t statuses_ = 0;
};

inline NodeInfo node_info(const std::string& name) {
  NodeInfo info;
  info.name = name;
  info.http_address = "127.0.0.1:8000";
  info.model_name = "demo";
  info.model_fingerprint = {1, 2};
  info.kv_layout = "block-major/f32/16";
  info.numerics = "cpu/avx2";
  info.version = "0.1.0";
  info.transport_address = {std::byte{1}, std::byte{2}};
  info.transport = "ucx";
  return info;
}

struct Node {
  explicit Node(const std::string& name, std::vector<std::string> peers = {}) : info(node_info(name)) {
    options.peers = std::move(peers);
    options.secret = "a secret";
    options.heartbeat = 50ms;
    options.silence = 10s;
  }
  ~Node() {
    if (mesh) mesh->stop();
  }
  void start() {
    const auto bound = begin();
    INFO((bound ? std::string() : bound.error().message));
    REQUIRE(bound);
  }
  // The same without assertions, which only the test's own thread may use.
  Result<std::uint16_t> begin() {
    mesh = std::make_unique<PeerMesh>(options, info, events, logger, metrics);
    auto bound = mesh->start();
    if (bound) port = *bound;
    return bound;
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }
  double failures(const std::string& reason) {
    return metrics.counter("baton_peer_handshake_failures_total", "", {{"reason", reason}}).value();
  }
  template <class Predicate>
  static bool eventually(Predicate predicate) {
    return test::eventually(predicate);
  }

  MeshOptions options;
  NodeInfo info;
  Recorder events;
  RecordingLogger logger;
  MemoryMetrics metrics;
  std::uint16_t port = 0;
  std::unique_ptr<PeerMesh> mesh;  // last: its callbacks use the others
};

// Forwards connections to a port. `change` may alter what flows; frozen, it forwards nothing and closes
// nothing.
class Relay {
 public:
  enum class Way { to_target, to_client };
  using Change = std::function<void(Way, Bytes&)>;

  explicit Relay(std::uint16_t target, Change change = {}) : target_(target), change_(std::move(change)) {
    auto [socket, bound] = listen_anywhere();
    listener_ = std::move(socket);
    port_ = bound;
    acceptor_ = std::thread([this] { accept(); });
  }
  ~Relay() {
    over_ = true;
    listener_.shut();
    acceptor_.join();  // the only one that adds to the others
    for (const auto& socket : sockets_) socket->shut();
    for (std::thread& pump : pumps_) pump.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void freeze(bool frozen) { frozen_ = frozen; }

 private:
  void accept() {
    while (!over_) {
      const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      auto client = std::make_shared<Socket>(fd);
      auto target = std::make_shared<Socket>(connect_to(target_));
      if (target->fd() < 0 || over_) continue;
      sockets_.push_back(client);
      sockets_.push_back(target);
      pumps_.emplace_back([this, client, target] { pump(Way::to_target, *client, *target); });
      pumps_.emplace_back([this, client, target] { pump(Way::to_client, *target, *client); });
    }
  }
  void pump(Way way, const Socket& from, const Socket& to) {
    std::byte chunk[8192];
    for (;;) {
      const ssize_t n = ::recv(from.fd(), chunk, sizeof chunk, 0);
      while (frozen_ && !over_) std::this_thread::sleep_for(1ms);
      if (n <= 0) break;
      Bytes bytes(chunk, chunk + n);
      if (change_) change_(way, bytes);
      if (!write_all(to, bytes)) break;
    }
    ::shutdown(to.fd(), SHUT_WR);
  }

  const std::uint16_t target_;
  const Change change_;
  Socket listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> over_{false};
  std::atomic<bool> frozen_{false};
  std::thread acceptor_;
  std::vector<std::thread> pumps_;                // grown by the acceptor only
  std::vector<std::shared_ptr<Socket>> sockets_;  // likewise
};

// A peer made by hand: dials, shakes hands properly, then sends whatever the test says.
class RawPeer {
 public:
  explicit RawPeer(const NodeInfo& info, std::uint64_t instance = 77) {
    identity_.secret = "a secret";
    identity_.self = {info, {instance, instance}};
  }
  peer::HandshakeIdentity& identity() { return identity_; }
  // Up to the introductions; false if the other side did not go along.
  bool shake_hands(std::uint16_t port) {
    socket_ = connect_to(port);
    peer::Nonce nonce{};
    peer::fill_random(nonce);
    peer::Handshake handshake(peer::Handshake::Side::dialer, identity_, nonce);
    for (;;) {
      if (!write_all(socket_, handshake.take_output())) return false;
      if (handshake.failure()) return false;
      if (handshake.done()) break;
      if (!read_some(socket_, input_)) return false;
      input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(handshake.feed(input_)));
    }
    sealer_.emplace(handshake.take_sealer());
    opener_.emplace(handshake.take_opener());
    opener_->set_limit(64 << 20);
    return true;
  }
  Bytes seal(peer::FrameKind kind, const Bytes& payload = {}) {
    Bytes out;
    sealer_->seal(kind, payload, out);
    return out;
  }
  bool send(const Bytes& bytes) { return write_all(socket_, bytes); }
  bool send(peer::FrameKind kind, const Bytes& payload = {}) { return send(seal(kind, payload)); }
  // The next frame's kind; nothing at the stream's end.
  std::optional<peer::FrameKind> receive() {
    for (;;) {
      std::size_t used = 0;
      const auto frame = opener_->open(input_, used);
      if (!frame) return std::nullopt;
      if (frame->has_value()) {
        const peer::FrameKind kind = (*frame)->kind;
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(used));
        return kind;
      }
      if (!read_some(socket_, input_)) return std::nullopt;
    }
  }
  bool ended() {  // the other side closes, whatever it says before
    while (receive()) {
    }
    return true;
  }
  // Connected as a node whose name is greater than the other's: offers and is accepted.
  bool connect(std::uint16_t port) {
    return shake_hands(port) && send(peer::FrameKind::offer) && receive() == peer::FrameKind::accept;
  }
  void close() { socket_ = Socket(); }
  const Socket& socket() const { return socket_; }

 private:
  peer::HandshakeIdentity identity_;
  Socket socket_;
  Bytes input_;
  std::optional<peer::FrameSealer> sealer_;
  std::optional<peer::FrameOpener> opener_;
};

}  // namespace baton::test
