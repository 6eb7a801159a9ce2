// What is said to etcd v3's JSON gateway, and what it answers, as text: no I/O here.
//
// int64 are strings, keys and values base64, and fields that are zero are left out. Whatever the other side
// sends, parsing ends in a value or in an Error (`corrupt`; `unavailable` and `not_found` for errors that
// etcd itself reports).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/peer/mesh.hpp"

namespace baton::cluster {

struct EtcdHeader {
  std::uint64_t cluster = 0;
  std::int64_t revision = 0;
};
struct EtcdEntry {
  std::string key;
  std::string value;
  std::int64_t revision = 0;  // of its last change; of its deletion
};
struct EtcdListing {
  EtcdHeader header;
  std::vector<EtcdEntry> entries;
};
struct EtcdEvent {
  bool deleted = false;
  EtcdEntry entry;  // a deleted one has no value
};
struct EtcdWatchMessage {
  EtcdHeader header;
  bool created = false;
  bool canceled = false;
  std::int64_t compact_revision = 0;  // not 0: what was asked for is compacted away
  std::string cancel_reason;
  std::vector<EtcdEvent> events;
};
struct EtcdLease {
  std::int64_t id = 0;
  std::int64_t ttl = 0;  // seconds; 0: it has expired
};

// Requests. Keys that begin with `prefix`.
std::string etcd_list_request(const std::string& prefix);
std::string etcd_watch_request(const std::string& prefix, std::int64_t from_revision);
std::string etcd_put_request(const std::string& key, const std::string& value, std::int64_t lease);
std::string etcd_grant_request(std::int64_t ttl_seconds);
std::string etcd_lease_request(std::int64_t id);  // keep alive, revoke

// Answers. `line`: one message of a stream.
Result<EtcdListing> parse_etcd_listing(std::string_view body);
Result<EtcdWatchMessage> parse_etcd_watch(std::string_view line);
Result<EtcdLease> parse_etcd_grant(std::string_view body);
Result<EtcdLease> parse_etcd_keepalive(std::string_view line);
// What an answer with another status than 200 says.
Error parse_etcd_error(int status, std::string_view body);

// A node's value: JSON with name, address and what people like to see. Only the address is read.
std::string etcd_node_value(const NodeInfo& self, const std::string& address);
Result<std::string> parse_etcd_node(std::string_view value);  // its address, in canonical form

}  // namespace baton::cluster
