#include "cluster/etcd_client.hpp"

#include <utility>

namespace baton::cluster {
namespace {

namespace asio = boost::asio;

}  // namespace

Result<HostPort> parse_etcd_endpoint(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  std::string_view rest = url;
  if (!rest.starts_with(kScheme)) {
    return make_error(ErrorCode::invalid_argument,
                      "'" + url + "' must begin with http:// (there is no TLS towards etcd yet)");
  }
  rest.remove_prefix(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  auto address = parse_host_port(rest);
  if (!address) return make_error(ErrorCode::invalid_argument, "'" + url + "': " + address.error().message);
  if (address->port == 0)
    return make_error(ErrorCode::invalid_argument, "'" + url + "': the port must not be 0");
  return address;
}

EtcdClient::Awaitable<std::unique_ptr<HttpExchange>> EtcdClient::begin(std::string path, std::string body) {
  std::vector<std::string> problems(endpoints_.size());
  for (std::size_t tried = 0; tried < endpoints_.size(); ++tried) {
    const std::size_t index = current_;
    auto exchange = co_await HttpExchange::post(endpoints_[index], path, body, timeout_);
    Error problem;
    if (exchange) {
      const int status = (*exchange)->status();
      if (status == 200) co_return exchange;
      const auto text = co_await (*exchange)->read_all(timeout_);
      problem = parse_etcd_error(status, text ? text.value() : std::string());
      if (problem.code == ErrorCode::not_found) co_return problem;  // etcd's answer, not its failure
    } else {
      problem = exchange.error();
    }
    problems[index] = to_string(endpoints_[index]) + ": " + problem.message;
    current_ = (index + 1) % endpoints_.size();
  }
  std::string all;  // in a fixed order, so that the same trouble reads the same
  for (const std::string& problem : problems) all += (all.empty() || problem.empty() ? "" : "; ") + problem;
  co_return make_error(ErrorCode::unavailable, all);
}

EtcdClient::Awaitable<std::string> EtcdClient::call(std::string path, std::string body) {
  const auto exchange = co_await begin(std::move(path), std::move(body));
  if (!exchange) co_return exchange.error();
  auto text = co_await (*exchange)->read_all(timeout_);
  if (!text) move_on();
  co_return text;
}

EtcdClient::Awaitable<EtcdListing> EtcdClient::list(std::string prefix) {
  const auto body = co_await call("/v3/kv/range", etcd_list_request(prefix));
  if (!body) co_return body.error();
  co_return parse_etcd_listing(*body);
}

EtcdClient::Awaitable<EtcdLease> EtcdClient::grant(std::int64_t ttl_seconds) {
  const auto body = co_await call("/v3/lease/grant", etcd_grant_request(ttl_seconds));
  if (!body) co_return body.error();
  co_return parse_etcd_grant(*body);
}

EtcdClient::Awaitable<EtcdLease> EtcdClient::keep_alive(std::int64_t lease) {
  const auto exchange = co_await begin("/v3/lease/keepalive", etcd_lease_request(lease));
  if (!exchange) co_return exchange.error();
  const auto line = co_await (*exchange)->read_line(timeout_);  // a stream of one message
  if (!line) {
    move_on();
    co_return line.error();
  }
  co_return parse_etcd_keepalive(*line);
}

EtcdClient::Awaitable<void> EtcdClient::put(std::string key, std::string value, std::int64_t lease) {
  const auto body = co_await call("/v3/kv/put", etcd_put_request(key, value, lease));
  if (!body) co_return body.error();
  co_return Result<void>();
}

EtcdClient::Awaitable<void> EtcdClient::revoke(std::int64_t lease) {
  const auto body = co_await call("/v3/lease/revoke", etcd_lease_request(lease));
  if (!body) co_return body.error();
  co_return Result<void>();
}

EtcdClient::Awaitable<std::unique_ptr<HttpExchange>> EtcdClient::watch(std::string prefix,
                                                                       std::int64_t from_revision) {
  co_return co_await begin("/v3/watch", etcd_watch_request(prefix, from_revision));
}

}  // namespace baton::cluster
