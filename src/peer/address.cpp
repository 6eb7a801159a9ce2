#include "baton/peer/address.hpp"

#include <charconv>

namespace baton {

Result<HostPort> parse_host_port(std::string_view text) {
  const auto bad = [&](const char* what) {
    return make_error(ErrorCode::invalid_argument, '\'' + std::string(text) + "': " + what);
  };
  std::string_view host;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !text.substr(end + 1).starts_with(':')) {
      return bad("expected [IPv6 address]:port");
    }
    host = text.substr(1, end - 1);
    port = text.substr(end + 2);
  } else {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad("expected host:port");
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos)
      return bad("an IPv6 address needs brackets: [address]:port");
  }
  if (host.empty()) return bad("the host is missing");
  if (host.find_first_of(" \t\r\n/@") != std::string_view::npos)
    return bad("the host has a character that no host has");
  HostPort out{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size()) {
    return bad("the port must be a number from 0 to 65535");
  }
  return out;
}

std::string to_string(const HostPort& address) {
  const bool brackets = address.host.find(':') != std::string::npos;
  return (brackets ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

}  // namespace baton
