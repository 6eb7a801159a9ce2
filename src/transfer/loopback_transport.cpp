// KvTransport inside one process: memcpy from the sender's thread into the receiver's destinations.
//
// It keeps the same promises as the network, through the same ReceiveTable. Each transport has one thread,
// which digests and copies what it sends and verifies what it receives. Invariant: a link (one direction
// between two transports) that was cut never delivers again; connect() makes a new one.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "baton/transfer/kv_transport.hpp"
#include "digest.hpp"
#include "outgoing.hpp"
#include "receive_table.hpp"
#include "task_thread.hpp"

namespace baton {
namespace {

using transfer::Outgoing;
using transfer::PartHeader;
using transfer::ReceiveTable;
using transfer::SendCounters;
using transfer::SourceId;
using transfer::TaskThread;

using EndpointId = std::uint64_t;

// What others see of a transport. Shared: a sender may still hold it while its owner is destroyed.
struct Endpoint {
  explicit Endpoint(const TransportOptions& options) : table(options, tasks) {}

  // False: the receiver cut this sender off, or is going away.
  bool accepts(EndpointId from) {
    std::lock_guard lock(mutex);
    return !stopped && !refused.contains(from);
  }

  TaskThread tasks;
  ReceiveTable table;
  std::mutex mutex;
  std::set<EndpointId> refused;
  bool stopped = false;
};

// One direction between two transports. `cut` is set by either side's disconnect.
struct Link {
  std::shared_ptr<Endpoint> to;  // shared: see Endpoint
  EndpointId to_id = 0;
  SourceId source = 0;
  std::atomic<bool> cut{false};
};

Error gone(const std::string& peer) {
  return make_error(ErrorCode::unavailable, "peer '" + peer + "' is not connected");
}

}  // namespace

class LoopbackHub {
 public:
  EndpointId add(const std::shared_ptr<Endpoint>& endpoint) {
    std::lock_guard lock(mutex_);
    endpoints_[++last_] = endpoint;
    return last_;
  }
  void remove(EndpointId id) {
    std::lock_guard lock(mutex_);
    endpoints_.erase(id);
  }
  std::shared_ptr<Endpoint> find(EndpointId id) const {
    std::lock_guard lock(mutex_);
    const auto found = endpoints_.find(id);
    return found == endpoints_.end() ? nullptr : found->second;
  }
  SourceId next_source() { return ++sources_; }

 private:
  mutable std::mutex mutex_;
  std::map<EndpointId, std::shared_ptr<Endpoint>> endpoints_;
  EndpointId last_ = 0;
  std::atomic<SourceId> sources_{0};
};

namespace {

class LoopbackTransport final : public KvTransport {
 public:
  LoopbackTransport(std::shared_ptr<LoopbackHub> hub, const TransportOptions& options)
      : hub_(std::move(hub)), options_(options), self_(std::make_shared<Endpoint>(options)) {
    id_ = hub_->add(self_);
  }

  ~LoopbackTransport() override {
    hub_->remove(id_);
    {
      std::lock_guard lock(self_->mutex);
      self_->stopped = true;  // no new part lands
    }
    {
      std::lock_guard lock(mutex_);
      for (auto& [peer, link] : links_) link->cut = true;
      links_.clear();
    }
    self_->table.close_all();
    self_->tasks.stop();       // queued sends end with unavailable, queued verifications and on_closed run
    self_->table.close_all();  // what a callback still opened
    // What is left is a memcpy of another transport's thread into our destinations.
    while (!self_->table.wait_until_empty(std::chrono::seconds(1))) {
    }
  }

  std::string name() const override { return "loopback"; }
  std::string link(const std::string&) const override { return "loopback"; }

  std::vector<std::byte> address() const override {
    std::vector<std::byte> bytes(sizeof id_);
    std::memcpy(bytes.data(), &id_, sizeof id_);
    return bytes;
  }

  Result<void> connect(const std::string& peer, std::span<const std::byte> address) override {
    EndpointId id = 0;
    if (address.size() != sizeof id)
      return make_error(ErrorCode::invalid_argument, "not a loopback address", "address");
    std::memcpy(&id, address.data(), sizeof id);
    auto to = hub_->find(id);
    if (!to) return make_error(ErrorCode::unavailable, "no such loopback transport: peer '" + peer + "'");
    auto link = std::make_shared<Link>();
    link->to = std::move(to);
    link->to_id = id;
    link->source = hub_->next_source();
    {
      std::lock_guard lock(self_->mutex);
      self_->refused.erase(id);
    }
    std::lock_guard lock(mutex_);
    std::shared_ptr<Link>& current = links_[peer];
    if (current) current->cut = true;
    current = std::move(link);
    return {};
  }

  void disconnect(const std::string& peer) override {
    std::shared_ptr<Link> link;
    {
      std::lock_guard lock(mutex_);
      const auto found = links_.find(peer);
      if (found == links_.end()) return;
      link = std::move(found->second);
      links_.erase(found);
    }
    link->cut = true;
    std::lock_guard lock(self_->mutex);
    self_->refused.insert(link->to_id);
  }

  Result<void> expect(TransferId transfer, std::vector<ExpectedBlock> blocks,
                      std::shared_ptr<ReceiveSink> sink) override {
    return self_->table.expect(transfer, std::move(blocks), std::move(sink));
  }
  void close(TransferId transfer) override { self_->table.close(transfer); }

  void send(const std::string& peer, OutgoingBlock block, SendDone done) override {
    std::shared_ptr<Link> link;
    {
      std::lock_guard lock(mutex_);
      const auto found = links_.find(peer);
      if (found != links_.end()) link = found->second;
    }
    // Shared because std::function must be copyable.
    auto outgoing = std::make_shared<Outgoing>(peer, block, std::move(done), sends_);
    self_->tasks.post([this, link, outgoing] { outgoing->finish(deliver(link, *outgoing)); });
  }

  std::optional<Hash128> content_digest(std::span<const std::byte> bytes) const override {
    if (!options_.digests || options_.memory != nullptr) return std::nullopt;
    return transfer::content_digest(bytes, options_.piece_bytes);
  }

  TransportCounters counters() const override {
    TransportCounters counters;
    counters.blocks_sent = sends_.blocks;
    counters.bytes_sent = sends_.bytes;
    counters.in_flight = sends_.in_flight;
    self_->table.add_counters(counters);
    return counters;
  }

 private:
  Result<void> deliver(const std::shared_ptr<Link>& link, Outgoing& outgoing) {
    if (auto valid = outgoing.check(options_); !valid) return valid;
    if (!link || link->cut) return gone(outgoing.peer());
    switch (outgoing.prepare(options_, Hash128{0, id_})) {
      case Outgoing::Verdict::lost:
        return {};
      case Outgoing::Verdict::refused:
        return outgoing.refusal();
      case Outgoing::Verdict::send:
        break;
    }
    PartHeader header = outgoing.header();
    for (std::uint64_t part = 0; part < header.parts(); ++part) {
      header.part = static_cast<std::uint32_t>(part);
      if (link->cut || !link->to->accepts(id_)) {
        link->cut = true;
        link->to->table.abandon(link->source);
        return gone(outgoing.peer());
      }
      auto landing = link->to->table.begin(header, header.length(), link->source);
      if (!landing) continue;
      const auto bytes = outgoing.bytes().subspan(header.offset(), header.length());
      std::memcpy(landing->bytes.data(), bytes.data(), bytes.size());
      link->to->table.end(std::move(*landing), {});
    }
    return {};
  }

  const std::shared_ptr<LoopbackHub> hub_;  // shared by design: it lives as long as any of its transports
  const TransportOptions options_;
  const std::shared_ptr<Endpoint> self_;
  EndpointId id_ = 0;
  SendCounters sends_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Link>> links_;  // shared with sends that are queued
};

}  // namespace

std::shared_ptr<LoopbackHub> make_loopback_hub() { return std::make_shared<LoopbackHub>(); }

std::unique_ptr<KvTransport> make_loopback_transport(std::shared_ptr<LoopbackHub> hub,
                                                     const TransportOptions& options) {
  return std::make_unique<LoopbackTransport>(std::move(hub), options);
}

}  // namespace baton
