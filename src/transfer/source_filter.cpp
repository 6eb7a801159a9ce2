#include "source_filter.hpp"

#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "own_sockets.hpp"

namespace baton::transfer {
namespace {

constexpr std::uint32_t kAcceptAll = 0x7FFFFFFF;
constexpr std::uint32_t kSourceV4 = 12, kSourceV6 = 8;  // in the IP header

std::uint32_t net(std::uint32_t offset) { return static_cast<std::uint32_t>(SKF_NET_OFF) + offset; }

std::uint32_t word(const IpAddress& address, std::size_t index) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value = value << 8 | std::to_integer<std::uint32_t>(address.bytes[4 * index + i]);
  return value;
}

sock_filter statement(unsigned code, std::uint32_t k) { return {static_cast<std::uint16_t>(code), 0, 0, k}; }
// Goes on where A equals k, else skips `otherwise` instructions.
sock_filter unless_equal(std::uint32_t k, unsigned otherwise) {
  return {BPF_JMP | BPF_JEQ | BPF_K, 0, static_cast<std::uint8_t>(otherwise), k};
}

}  // namespace

std::vector<sock_filter> source_program(const std::vector<IpAddress>& sources) {
  std::vector<sock_filter> v4, v6;
  v4.push_back(statement(BPF_LD | BPF_W | BPF_ABS, net(kSourceV4)));
  v4.push_back({BPF_JMP | BPF_JGE | BPF_K, 0, 2, 127U << 24});  // 127.0.0.0/8
  v4.push_back({BPF_JMP | BPF_JGE | BPF_K, 1, 0, 128U << 24});
  v4.push_back(statement(BPF_RET | BPF_K, kAcceptAll));
  const auto add_v6 = [&v6](const IpAddress& address) {
    for (std::size_t i = 0; i < 4; ++i) {
      v6.push_back(statement(BPF_LD | BPF_W | BPF_ABS, net(kSourceV6 + 4 * static_cast<std::uint32_t>(i))));
      v6.push_back(unless_equal(word(address, i), static_cast<unsigned>(2 * (3 - i) + 1)));
    }
    v6.push_back(statement(BPF_RET | BPF_K, kAcceptAll));
  };
  IpAddress loopback{.family = 6, .bytes = {}};
  loopback.bytes[15] = std::byte{1};
  add_v6(loopback);
  for (const IpAddress& source : std::span(sources).first(std::min(sources.size(), kMostSources))) {
    if (source.family == 6) {
      add_v6(source);
    } else {
      v4.push_back(unless_equal(word(source, 0), 1));
      v4.push_back(statement(BPF_RET | BPF_K, kAcceptAll));
    }
  }
  std::vector<sock_filter> program{statement(BPF_LD | BPF_B | BPF_ABS, net(0)),
                                   statement(BPF_ALU | BPF_RSH | BPF_K, 4)};
  program.push_back(unless_equal(4, 1));
  program.push_back(statement(BPF_JMP | BPF_JA, 1));
  program.push_back(statement(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(v4.size() + 1)));
  program.insert(program.end(), v4.begin(), v4.end());
  program.push_back(statement(BPF_RET | BPF_K, 0));
  program.insert(program.end(), v6.begin(), v6.end());
  program.push_back(statement(BPF_RET | BPF_K, 0));
  return program;
}

std::set<int> SourceFilter::listening_sockets() {
  std::set<int> found;
  for (const int fd : own_sockets())
    if (listens(fd)) found.insert(fd);
  return found;
}

void SourceFilter::guard(std::set<int> sockets) {
  sockets_ = std::move(sockets);
  apply();
}

void SourceFilter::allow(const std::string& peer, std::vector<IpAddress> sources) {
  allowed_[peer] = std::move(sources);
  apply();
}

void SourceFilter::forget(const std::string& peer) {
  if (allowed_.erase(peer) > 0) apply();
}

void SourceFilter::apply() const {
  if (sockets_.empty()) return;
  std::vector<IpAddress> sources;
  for (const auto& [peer, addresses] : allowed_)
    sources.insert(sources.end(), addresses.begin(), addresses.end());
  auto program = source_program(sources);
  const sock_fprog description{static_cast<unsigned short>(program.size()), program.data()};
  for (const int fd : sockets_)
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &description, sizeof description);
}

}  // namespace baton::transfer
