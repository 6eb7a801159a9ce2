#include "listen_address.hpp"

#include <algorithm>

namespace baton::transfer {
namespace {

constexpr const char* kField = "interface_address";

const IpAddress& loopback_v6() {
  static const IpAddress address = *parse_ip("::1");
  return address;
}

}  // namespace

bool is_of_ucx(const Interface& interface, std::span<const Interface> all) {
  if (interface.address == loopback_v6()) return false;
  const auto first = std::ranges::find_if(all, [&](const Interface& i) {
    return i.name == interface.name && i.address.family == interface.address.family &&
           i.address != loopback_v6();
  });
  return first != all.end() && first->address == interface.address;
}

Result<IpAddress> choose_listen_address(const std::string& wanted, std::span<const Interface> ours) {
  const auto has = [&](auto&& holds) { return std::ranges::any_of(ours, holds); };
  if (wanted.empty()) {
    const bool v4 = has([](const Interface& i) { return !i.loopback && i.address.family == 4; });
    const bool v6 = has([](const Interface& i) { return !i.loopback && i.address.family == 6; });
    return v6 && !v4 ? IpAddress{.family = 6, .bytes = {}} : IpAddress{};
  }
  const auto ip = parse_ip(wanted);
  if (!ip) return ip.error();
  if (ip->loopback()) {
    // 127.0.0.2 and its like are no interface's address; ::1 is none of UCX's.
    const auto usable = std::ranges::find_if(
        ours, [&](const Interface& i) { return i.address.loopback() && is_of_ucx(i, ours); });
    return usable != ours.end() ? usable->address : *ip;
  }
  const auto interface = std::ranges::find(ours, *ip, &Interface::address);
  if (interface == ours.end()) return *ip;  // binding to it says what is wrong
  for (const Interface& other : ours)
    if (other.name == interface->name && other.address.family == ip->family && is_of_ucx(other, ours))
      return other.address;
  return *ip;
}

Result<void> check_tcp_sockets(const std::set<int>& sockets, const IpAddress& listen) {
  bool found = sockets.empty();  // TLS without tcp
  for (const int fd : sockets) {
    sockaddr_storage bound{};
    socklen_t bytes = sizeof bound;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bytes) != 0) continue;
    const auto address = from_sockaddr(reinterpret_cast<const sockaddr*>(&bound));
    if (!address) continue;
    found = found || listen.any() || *address == listen;
    if (address->family == listen.family) continue;
    return make_error(ErrorCode::unsupported,
                      "UCX's tcp transport takes " + to_string(*address) +
                          ", which is not of the family of " + to_string(listen) +
                          ": leave UCX_TCP_AF_PRIO unset",
                      kField);
  }
  if (found) return {};
  return make_error(ErrorCode::unsupported,
                    "UCX's tcp transport does not listen at " + to_string(listen) +
                        ": it takes the first address of each interface, and of UCX_NET_DEVICES only",
                    kField);
}

}  // namespace baton::transfer
