// What address() says of a UCX transport: who it is, which machine it runs on, and where its listener can be
// reached and will come from. Comes from a peer, so parsing checks everything.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"

namespace baton::transfer {

struct IpAddress {
  std::uint8_t family = 4;  // 4 or 6
  std::array<std::byte, 16> bytes{};
  bool operator==(const IpAddress&) const = default;
  bool loopback() const;
  bool any() const;  // 0.0.0.0 or ::
};

struct UcxAddress {
  Hash128 sender;   // drawn at start: how its parts and connections are told from others'
  Hash128 machine;  // equal on one machine: there, loopback will do
  std::uint16_t port = 0;
  std::vector<IpAddress> candidates;  // where it listens
  std::vector<IpAddress> sources;     // where its connections may come from: all its addresses
};

// An interface of this machine that is up.
struct Interface {
  std::string name;
  IpAddress address;
  unsigned prefix_bits = 0;
  bool loopback = false;
};

std::vector<std::byte> encode_ucx_address(const UcxAddress& address);
Result<UcxAddress> parse_ucx_address(std::span<const std::byte> bytes);

std::string to_string(const IpAddress& address);
Result<IpAddress> parse_ip(const std::string& text);
sockaddr_storage to_sockaddr(const IpAddress& address, std::uint16_t port);
std::optional<IpAddress> from_sockaddr(const sockaddr* address);  // nothing for IPv6 link-local ones, too
std::vector<Interface> local_interfaces();                        // in the kernel's order
Hash128 machine_id();

// The candidate to connect to, among those of this family: on the same machine loopback, else one in a subnet
// of ours, else the first.
std::optional<IpAddress> choose_candidate(const UcxAddress& peer, Hash128 machine,
                                          std::span<const Interface> ours, std::uint8_t family);

}  // namespace baton::transfer
