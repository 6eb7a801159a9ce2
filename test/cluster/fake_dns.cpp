#include "cluster/fake_dns.hpp"

namespace baton::test {
namespace {

// RFC 1035, 4.1; RFC 2782.
constexpr std::size_t kHeaderBytes = 12;
constexpr std::uint16_t kA = 1;
constexpr std::uint16_t kAaaa = 28;
constexpr std::uint16_t kSrv = 33;
constexpr char kServerFailure = 2;
constexpr char kNoSuchName = 3;

std::string u16(std::size_t value) {
  return {static_cast<char>(value >> 8 & 0xFF), static_cast<char>(value & 0xFF)};
}

std::string labels(const std::string& name) {
  std::string out;
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    out += static_cast<char>(end - begin);
    out += name.substr(begin, end - begin);
    begin = end + 1;
  }
  return out + '\0';
}

std::string record(std::uint16_t type, const std::string& data) {
  // The name is the question's; class IN; TTL 0.
  return "\xC0\x0C" + u16(type) + u16(1) + std::string(4, '\0') + u16(data.size()) + data;
}

std::string bytes_of(const std::string& address, int family) {
  std::string bytes(family == AF_INET ? 4 : 16, '\0');
  return ::inet_pton(family, address.c_str(), bytes.data()) == 1 ? bytes : std::string();
}

}  // namespace

FakeDns::FakeDns() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = loopback(0);
  REQUIRE(::bind(socket_.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  socklen_t size = sizeof address;
  ::getsockname(socket_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

FakeDns::~FakeDns() {
  over_ = true;
  thread_.join();
}

void FakeDns::set_addresses(const std::string& name, std::vector<std::string> addresses) {
  std::lock_guard lock(mutex_);
  names_[name].addresses = std::move(addresses);
}

void FakeDns::set_services(const std::string& name, std::vector<Service> services) {
  std::lock_guard lock(mutex_);
  names_[name].services = std::move(services);
}

void FakeDns::remove(const std::string& name) {
  std::lock_guard lock(mutex_);
  names_.erase(name);
}

void FakeDns::serve() {
  while (!over_) {
    pollfd wait{socket_.fd(), POLLIN, 0};
    if (::poll(&wait, 1, 20) <= 0) continue;
    std::string question(512, '\0');
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const ssize_t n = ::recvfrom(socket_.fd(), question.data(), question.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &size);
    if (n <= static_cast<ssize_t>(kHeaderBytes)) continue;
    question.resize(static_cast<std::size_t>(n));
    ++questions_;
    const std::string reply = answer(question);
    if (reply.empty()) continue;
    ::sendto(socket_.fd(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
  }
}

std::string FakeDns::answer(const std::string& question) {
  if (mode_ == Mode::is_silent) return {};
  std::string name;
  std::size_t at = kHeaderBytes;
  while (at < question.size() && question[at] != 0) {
    const auto length = static_cast<std::size_t>(question[at]);
    name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
    at += 1 + length;
  }
  if (at + 5 > question.size()) return {};
  const auto type = static_cast<std::uint16_t>(static_cast<unsigned char>(question[at + 1]) << 8 |
                                               static_cast<unsigned char>(question[at + 2]));
  const std::string asked = question.substr(kHeaderBytes, at + 5 - kHeaderBytes);
  const std::string id = question.substr(0, 2);
  // A plausible header (an answer, one record) with nothing sensible behind it.
  if (mode_ == Mode::sends_garbage)
    return id + "\x81\x80" + u16(1) + u16(1) + u16(0) + u16(0) + asked + "\xC0\xFF\xFF";

  std::string records;
  std::size_t count = 0;
  const auto add = [&](const std::string& data) {
    records += record(type, data);
    ++count;
  };
  std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found != names_.end()) {
    for (const std::string& address : found->second.addresses) {
      const std::string bytes = bytes_of(address, type == kAaaa ? AF_INET6 : AF_INET);
      if ((type == kA || type == kAaaa) && !bytes.empty()) add(bytes);
    }
    for (const Service& service : found->second.services) {
      if (type == kSrv) add(u16(0) + u16(0) + u16(service.port) + labels(service.target));
    }
  }
  const char code = mode_ == Mode::fails ? kServerFailure : found == names_.end() ? kNoSuchName : '\0';
  if (mode_ == Mode::fails) count = 0;
  return id + '\x81' + static_cast<char>('\x80' | code) + u16(1) + u16(count) + u16(0) + u16(0) + asked +
         (count == 0 ? std::string() : records);
}

}  // namespace baton::test
