// Everything that etcd's JSON gateway may answer, and what it holds under a node's key.
//
// The first byte picks the parser, the rest is its input.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "baton/base/base64.hpp"
#include "baton/peer/address.hpp"
#include "cluster/etcd_client.hpp"
#include "cluster/etcd_messages.hpp"

using namespace baton;
using namespace baton::cluster;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// A value, or an error that says something.
template <class T>
bool well_formed(const Result<T>& result) {
  if (!result) require(!result.error().message.empty());
  return result.has_value();
}

// Base64 has one form: what decodes encodes to the same.
void base64(std::string_view input) {
  if (const auto decoded = decode_base64(input)) require(encode_base64(*decoded) == input);
  require(decode_base64(encode_base64(input)) == std::string(input));
}

void listing(std::string_view input) {
  const auto parsed = parse_etcd_listing(input);
  if (!well_formed(parsed)) return;
  require(parsed->header.revision > 0);
  for (const EtcdEntry& entry : parsed->entries) require(!entry.key.empty() && entry.revision > 0);
}

void watch(std::string_view input) {
  const auto parsed = parse_etcd_watch(input);
  if (!well_formed(parsed)) return;
  for (const EtcdEvent& event : parsed->events) require(!event.entry.key.empty() && event.entry.revision > 0);
}

void leases(std::string_view input) {
  if (const auto granted = parse_etcd_grant(input); well_formed(granted))
    require(granted->id != 0 && granted->ttl > 0);
  (void)well_formed(parse_etcd_keepalive(input));
}

// An address that is taken is one that a mesh can dial.
void node(std::string_view input) {
  const auto address = parse_etcd_node(input);
  if (!well_formed(address)) return;
  const auto parsed = parse_host_port(*address);
  require(parsed && parsed->port != 0 && to_string(*parsed) == *address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {
    case 0:
      listing(input);
      break;
    case 1:
      watch(input);
      break;
    case 2:
      leases(input);
      break;
    case 3:
      require(!parse_etcd_error(500, input).message.empty());
      break;
    case 4:
      node(input);
      break;
    case 5:
      base64(input);
      break;
    default:
      (void)well_formed(parse_etcd_endpoint(std::string(input)));
      break;
  }
  return 0;
}
