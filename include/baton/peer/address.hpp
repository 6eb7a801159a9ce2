// "host:port" as people write it on the command line: names, IPv4, and IPv6 in brackets ("[::1]:7000").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

struct HostPort {
  std::string host;  // without brackets; may be a name
  std::uint16_t port = 0;
};

// invalid_argument says what is wrong. The host must not be empty; whether port 0 makes sense is the caller's
// affair.
Result<HostPort> parse_host_port(std::string_view text);
std::string to_string(const HostPort& address);  // brackets where the host has a colon

}  // namespace baton
