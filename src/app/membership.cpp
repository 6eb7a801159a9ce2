#include "app/membership.hpp"

#include <utility>
#include <vector>

#include "baton/peer/address.hpp"

namespace baton {
namespace {

Error named(const char* flag, const Error& error) {
  return make_error(error.code, std::string(flag) + ": " + error.message, flag);
}

}  // namespace

Result<std::unique_ptr<Membership>> make_membership(const ServeOptions& options, Logger& logger) {
  std::vector<std::unique_ptr<Membership>> sources;
  auto peers = make_static_membership(options.peers);
  if (!peers) return named("--peer", peers.error());
  sources.push_back(*std::move(peers));
  if (!options.dns.empty()) {
    DnsOptions d;
    d.names = options.dns;
    d.server = options.dns_server;
    d.interval = options.dns_interval;
    auto dns = make_dns_membership(std::move(d), logger);
    if (!dns) return named(dns.error().field == "dns_server" ? "--dns-server" : "--dns", dns.error());
    sources.push_back(*std::move(dns));
  }
  if (!options.etcd.empty()) {
    EtcdOptions e;
    e.endpoints = options.etcd;
    e.prefix = options.etcd_prefix;
    auto etcd = make_etcd_membership(std::move(e), logger);
    if (!etcd) return named(etcd.error().field == "etcd_prefix" ? "--etcd-prefix" : "--etcd", etcd.error());
    sources.push_back(*std::move(etcd));
  }
  return make_combined_membership(std::move(sources));
}

Result<std::string> advertised_address(const ServeOptions& options, std::uint16_t bound_port) {
  const std::string& text = options.advertise.empty() ? options.peer_listen : options.advertise;
  const char* flag = options.advertise.empty() ? "--peer-listen" : "--advertise";
  auto address = parse_host_port(text);
  if (!address) return named(flag, address.error());
  if (address->host == "0.0.0.0" || address->host == "::") {
    return make_error(ErrorCode::invalid_argument,
                      std::string(flag) + " " + text +
                          " is no address that others can dial: with --etcd, say with --advertise HOST:PORT "
                          "which one is",
                      "--advertise");
  }
  if (address->port == 0) address->port = bound_port;
  return to_string(*address);
}

}  // namespace baton
