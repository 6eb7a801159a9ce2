// The few calls of etcd v3 that Baton makes, each at one of several endpoints in turn: the one that answered
// last is asked first.
//
// Belongs to the thread of one io_context. Nothing is tried twice at one endpoint: whoever calls has its own
// idea of when to try again.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/peer/address.hpp"
#include "cluster/etcd_http.hpp"
#include "cluster/etcd_messages.hpp"

namespace baton::cluster {

// "http://host:port", with or without a slash at the end.
Result<HostPort> parse_etcd_endpoint(const std::string& url);

class EtcdClient {
 public:
  template <class T>
  using Awaitable = boost::asio::awaitable<Result<T>>;

  EtcdClient(std::vector<HostPort> endpoints, Duration timeout)
      : endpoints_(std::move(endpoints)), timeout_(timeout) {}

  Awaitable<EtcdListing> list(std::string prefix);
  Awaitable<EtcdLease> grant(std::int64_t ttl_seconds);
  Awaitable<EtcdLease> keep_alive(std::int64_t lease);
  Awaitable<void> put(std::string key, std::string value, std::int64_t lease);  // not_found: no such lease
  Awaitable<void> revoke(std::int64_t lease);
  // A stream of lines for parse_etcd_watch.
  Awaitable<std::unique_ptr<HttpExchange>> watch(std::string prefix, std::int64_t from_revision);
  void move_on() { current_ = (current_ + 1) % endpoints_.size(); }  // ask another one first

 private:
  Awaitable<std::unique_ptr<HttpExchange>> begin(std::string path, std::string body);
  Awaitable<std::string> call(std::string path, std::string body);

  const std::vector<HostPort> endpoints_;  // at least one
  const Duration timeout_;
  std::size_t current_ = 0;
};

}  // namespace baton::cluster
