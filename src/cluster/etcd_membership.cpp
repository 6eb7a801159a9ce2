// Two coroutines on a thread of its own: one follows the nodes' keys (list, then watch from the list's
// revision on), one holds this node's own key under a lease.
//
// Invariant: the view changes only by a whole list or by an event; no failure touches it. Each trouble is
// said once, tried again with backoff for ever, and its end is said.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "baton/cluster/membership.hpp"
#include "cluster/etcd_client.hpp"
#include "cluster/problem_log.hpp"

namespace baton {
namespace {

namespace asio = boost::asio;
using namespace cluster;  // NOLINT: this file is one with it

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr Duration kFirstBackoff = std::chrono::milliseconds(100);
constexpr Duration kLastBackoff = std::chrono::seconds(5);
constexpr std::int64_t kMaxTtl = 3600;                  // seconds; what etcd grants is its own decision
constexpr Duration kGoodbye = std::chrono::seconds(1);  // for taking the lease back at the end

TimePoint now() { return std::chrono::steady_clock::now(); }

class EtcdMembership final : public Membership {
 public:
  EtcdMembership(EtcdOptions options, std::vector<HostPort> endpoints, Logger& logger)
      : options_(std::move(options)),
        logger_(logger),
        client_(std::move(endpoints), options_.timeout),
        following_(logger, {"prefix", options_.prefix}, "etcd does not tell the nodes: keeping the last view",
                   "etcd tells the nodes again"),
        holding_(logger, {"prefix", options_.prefix}, "this node cannot be announced in etcd: trying again",
                 "this node is announced in etcd again"),
        jitter_(std::random_device{}()) {}

  ~EtcdMembership() override {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { end(); });
    thread_.join();
  }

  void watch(Watcher watcher) override {
    watcher_ = std::move(watcher);
    watcher_({});
    run(&EtcdMembership::follow);
    run(&EtcdMembership::hold);
    thread_ = std::thread([this] { io_.run(); });
  }

  Result<void> announce(const NodeInfo& self, const std::string& address) override {
    const std::string value = etcd_node_value(self, address);
    if (const auto node = parse_etcd_node(value); self.name.empty() || !node) {
      return make_error(ErrorCode::invalid_argument,
                        "'" + address + "' of node '" + self.name + "' cannot be announced", "advertise");
    }
    asio::post(io_, [this, key = options_.prefix + self.name, value] {
      own_ = EtcdEntry{key, value, 0};
      put_ = false;
      wake_.cancel();
    });
    return {};
  }

  void leave() override {
    asio::post(io_, [this] {
      leaving_ = true;
      wake_.cancel();
    });
  }

 private:
  void run(asio::awaitable<void> (EtcdMembership::*body)()) {
    asio::co_spawn(io_, (this->*body)(), [this](std::exception_ptr exception) {
      if (exception) logger_.error("the membership by etcd ended by an exception");
    });
  }

  void end() {
    ending_ = true;
    leaving_ = true;
    wake_.cancel();
    if (left_) return io_.stop();
    end_timer_.expires_after(kGoodbye);
    end_timer_.async_wait([this](boost::system::error_code) { io_.stop(); });
  }

  // Somewhere in the second half, so that many nodes do not ask a restarted etcd in step.
  Duration some_of(Duration backoff) {
    const std::int64_t half = backoff.count() / 2;
    return Duration(half + std::uniform_int_distribution<std::int64_t>(0, half)(jitter_));
  }

  // --- following the nodes ---

  asio::awaitable<void> follow() {
    asio::steady_timer pause(io_);
    Duration backoff = kFirstBackoff;
    for (;;) {
      const TimePoint begun = now();
      Result<void> followed;
      try {
        followed = co_await follow_once();
      } catch (const std::exception& e) {
        followed = make_error(ErrorCode::internal, e.what());
      }
      if (!followed) {
        following_.failed(followed.error().message);
        client_.move_on();
      }
      if (now() - begun > kLastBackoff) backoff = kFirstBackoff;  // it went well for a while
      pause.expires_after(some_of(backoff));
      co_await pause.async_wait(kAwait);
      backoff = std::min(backoff * 2, kLastBackoff);
    }
  }

  // Until the stream ends. Success: go on where it ended, or with a new list if `listed_` is false.
  asio::awaitable<Result<void>> follow_once() {
    if (!listed_) {
      const auto listing = co_await client_.list(options_.prefix);
      if (!listing) co_return listing.error();
      take(*listing);
    }
    const auto stream = co_await client_.watch(options_.prefix, revision_ + 1);
    if (!stream) co_return stream.error();
    bool created = false;
    for (;;) {
      const auto line = co_await (*stream)->read_line(created ? options_.watch_renewal : options_.timeout);
      if (!line && created) co_return Result<void>();  // quiet for long, or cut: goes on where it ended
      if (!line) co_return line.error();
      const auto message = parse_etcd_watch(*line);
      if (!message) {
        listed_ = false;  // what was in it is lost
        co_return message.error();
      }
      if (message->canceled || message->compact_revision != 0) {
        listed_ = false;
        if (message->compact_revision != 0) co_return Result<void>();
        co_return make_error(ErrorCode::unavailable, "the watch was cancelled: " + message->cancel_reason);
      }
      if (message->created) {
        created = true;
        // Another etcd, or one that has lost its data: what we have seen is not in its past.
        if (message->header.cluster != cluster_ || message->header.revision < revision_) {
          listed_ = false;
          co_return Result<void>();
        }
        following_.succeeded();
      }
      take(*message);
    }
  }

  void take(const EtcdListing& listing) {
    nodes_.clear();
    for (const EtcdEntry& entry : listing.entries) take(entry);
    cluster_ = listing.header.cluster;
    revision_ = listing.header.revision;
    listed_ = true;
    if (own_ && put_ && !nodes_.contains(own_->key)) put_again();
    publish();
  }

  void take(const EtcdWatchMessage& message) {
    for (const EtcdEvent& event : message.events) {
      revision_ = std::max(revision_, event.entry.revision);
      if (!event.deleted) {
        take(event.entry);
        continue;
      }
      nodes_.erase(event.entry.key);
      if (own_ && event.entry.key == own_->key) put_again();
    }
    publish();
  }

  void take(const EtcdEntry& entry) {
    if (!entry.key.starts_with(options_.prefix)) return;
    if (auto address = parse_etcd_node(entry.value)) {
      nodes_[entry.key] = *std::move(address);
      return;
    }
    nodes_.erase(entry.key);
    logger_.warn("a node's entry in etcd is wrong: left out", {{"key", entry.key}});
  }

  void publish() {
    std::set<std::string> addresses;
    for (const auto& [key, address] : nodes_) addresses.insert(address);
    std::vector<std::string> list(addresses.begin(), addresses.end());
    if (list == published_) return;
    published_ = std::move(list);
    std::string text;
    for (const std::string& address : published_) text += (text.empty() ? "" : " ") + address;
    logger_.info("the cluster's addresses in etcd", {{"addresses", text}});
    watcher_(published_);
  }

  // --- this node's own key ---

  asio::awaitable<void> hold() {
    Duration backoff = kFirstBackoff;
    while (!leaving_) {
      if (!own_) {
        wake_.expires_at(TimePoint::max());
        co_await wake_.async_wait(kAwait);
        continue;
      }
      Result<void> held;
      try {
        held = co_await hold_once();
      } catch (const std::exception& e) {
        held = make_error(ErrorCode::internal, e.what());
      }
      if (held) {
        holding_.succeeded();
        backoff = kFirstBackoff;
      } else {
        holding_.failed(held.error().message);
      }
      if (leaving_) break;
      if (held && !put_) continue;  // deleted, or announced anew, meanwhile
      wake_.expires_after(held ? std::chrono::seconds(ttl_) / 3 : some_of(backoff));
      co_await wake_.async_wait(kAwait);
      if (!held) backoff = std::min(backoff * 2, kLastBackoff);
    }
    if (lease_ != 0) {
      const auto revoked = co_await client_.revoke(lease_);
      if (revoked) logger_.info("this node has left etcd");
    }
    left_ = true;
    if (ending_) io_.stop();
  }

  // The lease lives and the key is there, or an error.
  asio::awaitable<Result<void>> hold_once() {
    if (lease_ != 0) {
      const auto lease = co_await client_.keep_alive(lease_);
      if (!lease && lease.error().code != ErrorCode::not_found) co_return lease.error();
      if (!lease || lease->ttl <= 0) {
        logger_.warn("this node's lease in etcd has expired: announcing it again");
        lease_ = 0;
      }
    }
    if (lease_ == 0) {
      const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.lease_ttl);
      const auto lease = co_await client_.grant(seconds.count());
      if (!lease) co_return lease.error();
      lease_ = lease->id;
      ttl_ = std::min(lease->ttl, kMaxTtl);
      put_ = false;
    }
    if (put_) co_return Result<void>();
    put_ = true;  // whoever wants it put again meanwhile says so
    const EtcdEntry entry = *own_;
    const auto done = co_await client_.put(entry.key, entry.value, lease_);
    if (done) {
      logger_.info("this node is announced in etcd", {{"key", entry.key}});
      co_return done;
    }
    put_ = false;
    if (done.error().code == ErrorCode::not_found) lease_ = 0;
    co_return done.error();
  }

  void put_again() {
    put_ = false;
    wake_.cancel();
  }

  asio::io_context io_{1};  // first: outlives every timer and socket
  const EtcdOptions options_;
  Logger& logger_;
  Watcher watcher_;
  // The thread's own, all that follows.
  EtcdClient client_;
  ProblemLog following_;
  ProblemLog holding_;
  std::minstd_rand jitter_;

  std::map<std::string, std::string> nodes_;  // key: address
  std::vector<std::string> published_;        // what the watcher was told
  std::uint64_t cluster_ = 0;                 // of the last list
  std::int64_t revision_ = 0;                 // all up to here is in nodes_
  bool listed_ = false;                       // false: only a list can tell

  std::optional<EtcdEntry> own_;  // what to announce
  bool put_ = false;              // it is there, as far as we know
  std::int64_t lease_ = 0;        // 0: none
  std::int64_t ttl_ = 1;          // of the lease, in seconds
  asio::steady_timer wake_{io_};  // hold() waits here
  bool leaving_ = false;
  bool left_ = false;  // hold() has ended
  bool ending_ = false;
  asio::steady_timer end_timer_{io_};
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Membership>> make_etcd_membership(EtcdOptions options, Logger& logger) {
  std::vector<HostPort> endpoints;
  for (const std::string& url : options.endpoints) {
    auto endpoint = parse_etcd_endpoint(url);
    if (!endpoint)
      return make_error(ErrorCode::invalid_argument, "endpoint " + endpoint.error().message, "etcd");
    endpoints.push_back(*std::move(endpoint));
  }
  if (endpoints.empty()) return make_error(ErrorCode::invalid_argument, "no endpoint is given", "etcd");
  if (options.prefix.empty())
    return make_error(ErrorCode::invalid_argument, "the prefix must not be empty", "etcd_prefix");
  return std::unique_ptr<Membership>(
      std::make_unique<EtcdMembership>(std::move(options), std::move(endpoints), logger));
}

}  // namespace baton
