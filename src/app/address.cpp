#include "app/address.hpp"

#include <charconv>

namespace baton {

Result<HostPort> parse_host_port(const std::string& text) {
  const auto bad = [&] { return make_error(ErrorCode::invalid_argument, "'" + text + "' is not HOST:PORT"); };
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad();
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string::npos) return bad();
  const std::string digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (host.empty() || digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return bad();
  return HostPort{std::move(host), port};
}

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

}  // namespace baton
