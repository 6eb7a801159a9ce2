// host:port as people write it.
#pragma once

#include <cstdint>
#include <string>

#include "baton/base/result.hpp"

namespace baton {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

// "127.0.0.1:7000", "[::1]:7000", "node-3:7000".
Result<HostPort> parse_host_port(const std::string& text);
bool is_loopback(const std::string& host);

}  // namespace baton
