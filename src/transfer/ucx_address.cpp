#include "ucx_address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace baton::transfer {
namespace {

constexpr std::byte kVersion{2};
constexpr std::size_t kMaxAddresses = 32;  // of each list

std::size_t size_of(std::uint8_t family) { return family == 4 ? 4 : 16; }

void put(std::vector<std::byte>& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

unsigned count_bits(const IpAddress& mask) {
  unsigned bits = 0;
  for (const std::byte byte : mask.bytes)
    bits += static_cast<unsigned>(__builtin_popcount(std::to_integer<unsigned>(byte)));
  return bits;
}

bool same_subnet(const Interface& ours, const IpAddress& other) {
  if (ours.address.family != other.family) return false;
  for (unsigned bit = 0; bit < ours.prefix_bits; ++bit) {
    const auto mask = static_cast<std::byte>(0x80 >> (bit % 8));
    if ((ours.address.bytes[bit / 8] & mask) != (other.bytes[bit / 8] & mask)) return false;
  }
  return true;
}

}  // namespace

bool IpAddress::any() const { return bytes == IpAddress{}.bytes; }

bool IpAddress::loopback() const {
  if (family == 4) return bytes[0] == std::byte{127};
  IpAddress one{.family = 6, .bytes = {}};
  one.bytes[15] = std::byte{1};
  return *this == one;
}

std::vector<std::byte> encode_ucx_address(const UcxAddress& address) {
  std::vector<std::byte> out{kVersion};
  for (const Hash128& hash : {address.sender, address.machine}) {
    put(out, hash.high, 8);
    put(out, hash.low, 8);
  }
  put(out, address.port, 2);
  for (const auto* list : {&address.candidates, &address.sources}) {
    const std::size_t count = std::min(list->size(), kMaxAddresses);
    put(out, count, 1);
    for (const IpAddress& ip : std::span(*list).first(count)) {
      put(out, ip.family, 1);
      out.insert(out.end(), ip.bytes.begin(), ip.bytes.begin() + static_cast<long>(size_of(ip.family)));
    }
  }
  return out;
}

Result<UcxAddress> parse_ucx_address(std::span<const std::byte> bytes) {
  const auto bad = [] { return make_error(ErrorCode::invalid_argument, "not a UCX address", "address"); };
  std::size_t at = 1;
  const auto get = [&](std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value |= std::to_integer<std::uint64_t>(bytes[at++]) << (8 * i);
    return value;
  };
  if (bytes.size() < 36 || bytes[0] != kVersion) return bad();
  UcxAddress address;
  address.sender.high = get(8);
  address.sender.low = get(8);
  address.machine.high = get(8);
  address.machine.low = get(8);
  address.port = static_cast<std::uint16_t>(get(2));
  for (auto* list : {&address.candidates, &address.sources}) {
    if (at >= bytes.size()) return bad();
    const std::size_t count = get(1);
    if (count > kMaxAddresses) return bad();
    for (std::size_t i = 0; i < count; ++i) {
      if (at >= bytes.size()) return bad();
      IpAddress ip;
      ip.family = static_cast<std::uint8_t>(get(1));
      if ((ip.family != 4 && ip.family != 6) || bytes.size() - at < size_of(ip.family)) return bad();
      for (std::size_t b = 0; b < size_of(ip.family); ++b) ip.bytes[b] = bytes[at++];
      list->push_back(ip);
    }
  }
  if (at != bytes.size() || address.port == 0 || address.candidates.empty()) return bad();
  return address;
}

std::string to_string(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes.data(), text, sizeof text);
  return text;
}

std::optional<IpAddress> from_sockaddr(const sockaddr* address) {
  IpAddress ip;
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    std::memcpy(ip.bytes.data(), &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
    return ip;
  }
  if (address->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6)) return std::nullopt;  // means nothing without its interface
    ip.family = 6;
    std::memcpy(ip.bytes.data(), &v6, 16);
    return ip;
  }
  return std::nullopt;
}

Result<IpAddress> parse_ip(const std::string& text) {
  IpAddress ip;
  if (inet_pton(AF_INET, text.c_str(), ip.bytes.data()) == 1) return ip;
  ip.family = 6;
  if (inet_pton(AF_INET6, text.c_str(), ip.bytes.data()) == 1) return ip;
  return make_error(ErrorCode::invalid_argument, "'" + text + "' is not an IP address", "interface_address");
}

sockaddr_storage to_sockaddr(const IpAddress& address, std::uint16_t port) {
  sockaddr_storage storage{};
  if (address.family == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, address.bytes.data(), 4);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.bytes.data(), 16);
  }
  return storage;
}

std::vector<Interface> local_interfaces() {
  std::vector<Interface> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const auto address = from_sockaddr(entry->ifa_addr);
    if (!address || (entry->ifa_flags & IFF_UP) == 0) continue;
    const auto mask = from_sockaddr(entry->ifa_netmask);
    found.push_back({entry->ifa_name, *address, mask ? count_bits(*mask) : 8 * 16u,
                     (entry->ifa_flags & IFF_LOOPBACK) != 0});
  }
  freeifaddrs(list);
  return found;
}

Hash128 machine_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  // Containers share the kernel's boot id but not its loopback: the network namespace tells them apart.
  char netns[64] = {};
  const ssize_t length = readlink("/proc/self/ns/net", netns, sizeof netns - 1);
  return hash_string(id + std::string(netns, length > 0 ? static_cast<std::size_t>(length) : 0));
}

std::optional<IpAddress> choose_candidate(const UcxAddress& peer, Hash128 machine,
                                          std::span<const Interface> ours, std::uint8_t family) {
  const bool same_machine = peer.machine == machine;
  std::optional<IpAddress> first;
  for (const IpAddress& ip : peer.candidates) {
    if (ip.family != family) continue;
    if (ip.loopback()) {
      if (same_machine) return ip;
      continue;  // their loopback, not ours
    }
    if (!first) first = ip;
  }
  for (const IpAddress& ip : peer.candidates) {
    if (ip.family != family || ip.loopback()) continue;
    if (std::ranges::any_of(ours, [&](const Interface& i) { return !i.loopback && same_subnet(i, ip); }))
      return ip;
  }
  return first;
}

}  // namespace baton::transfer
