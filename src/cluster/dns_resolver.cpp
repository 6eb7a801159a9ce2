#include "cluster/dns_resolver.hpp"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <system_error>

namespace baton::cluster {
namespace {

constexpr int kTries = 2;  // of one question at one server; the second waits twice as long

Error failure(int status) { return make_error(ErrorCode::unavailable, ares_strerror(status)); }

int poll_timeout(Duration left) {
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(left);
  return static_cast<int>(std::clamp<std::int64_t>(whole.count(), 0, 60'000));
}

// One question that is under way; the channel keeps a pointer to it.
struct Pending {
  Result<DnsAnswer> result = make_error(ErrorCode::unavailable, "no answer in time");
  bool done = false;

  void finish(int status, DnsAnswer answer) {
    done = true;
    if (status == ARES_ECANCELLED || status == ARES_EDESTRUCTION) return;  // the deadline
    if (status != ARES_SUCCESS) {
      result = failure(status);
    } else if (answer.empty()) {
      result = failure(ARES_ENODATA);
    } else {
      result = std::move(answer);
    }
  }
};

void on_addresses(void* context, int status, int /*timeouts*/, ares_addrinfo* found) {
  const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> list(found, ares_freeaddrinfo);
  DnsAnswer answer;
  for (const ares_addrinfo_node* node = found == nullptr ? nullptr : found->nodes; node != nullptr;
       node = node->ai_next) {
    const void* address = nullptr;
    if (node->ai_family == AF_INET) address = &reinterpret_cast<const sockaddr_in*>(node->ai_addr)->sin_addr;
    if (node->ai_family == AF_INET6)
      address = &reinterpret_cast<const sockaddr_in6*>(node->ai_addr)->sin6_addr;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address != nullptr && inet_ntop(node->ai_family, address, text.data(), text.size()) != nullptr)
      answer.push_back({text.data(), 0});
  }
  static_cast<Pending*>(context)->finish(status, std::move(answer));
}

void on_services(void* context, int status, int /*timeouts*/, unsigned char* bytes, int size) {
  DnsAnswer answer;
  if (status == ARES_SUCCESS) {
    ares_srv_reply* found = nullptr;
    status = ares_parse_srv_reply(bytes, size, &found);
    const std::unique_ptr<ares_srv_reply, void (*)(void*)> list(found, ares_free_data);
    for (const ares_srv_reply* one = found; one != nullptr; one = one->next) {
      const std::string target = one->host;  // "" or ".": there is no such service (RFC 2782)
      if (one->port != 0 && !target.empty() && target != ".") answer.push_back({target, one->port});
    }
  }
  static_cast<Pending*>(context)->finish(status, std::move(answer));
}

// A channel of its own for each round: so a changed /etc/resolv.conf counts, and nothing outlives a round.
class Round {
 public:
  Round(const std::string& server, Duration timeout) : deadline_(SteadyClock{}.now() + timeout) {
    ares_options options{};
    options.tries = kTries;
    options.timeout = std::max(1, poll_timeout(timeout) / 4);  // then twice as long: both tries fit
    int mask = ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS;
    std::array<char, 2> only_dns{'b', '\0'};
    if (!server.empty()) {  // this server is asked, not /etc/hosts
      options.lookups = only_dns.data();
      mask |= ARES_OPT_LOOKUPS;
    }
    status_ = ares_init_options(&channel_, &options, mask);
    if (status_ != ARES_SUCCESS) {
      channel_ = nullptr;
    } else if (!server.empty()) {
      status_ = ares_set_servers_ports_csv(channel_, server.c_str());
    }
  }
  ~Round() {
    if (channel_ != nullptr) ares_destroy(channel_);
  }
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;

  void ask(const DnsQuestion& question) {
    Pending& pending = pending_.emplace_back();
    if (status_ != ARES_SUCCESS) return pending.finish(status_, {});
    if (question.kind == DnsQuestion::Kind::services) {
      ares_search(channel_, question.name.c_str(), ns_c_in, ns_t_srv, on_services, &pending);
      return;
    }
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;  // sorting would connect sockets
    ares_getaddrinfo(channel_, question.name.c_str(), nullptr, &hints, on_addresses, &pending);
  }

  std::vector<Result<DnsAnswer>> wait(const StopEvent& stop) {
    while (std::any_of(pending_.begin(), pending_.end(), [](const Pending& p) { return !p.done; })) {
      const Duration left = deadline_ - SteadyClock{}.now();
      if (left <= Duration(0) || !step(stop, left)) break;
    }
    if (channel_ != nullptr) ares_cancel(channel_);
    std::vector<Result<DnsAnswer>> results;
    for (Pending& pending : pending_) results.push_back(std::move(pending.result));
    return results;
  }

 private:
  // Waits for what the channel waits for, and lets it work; false: stopped.
  bool step(const StopEvent& stop, Duration left) {
    std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets{};
    const int wanted = ares_getsock(channel_, sockets.data(), ARES_GETSOCK_MAXNUM);
    std::vector<pollfd> polled{{stop.fd(), POLLIN, 0}};
    for (int i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
      const auto bits = static_cast<unsigned>(wanted);
      const bool reads = (bits & (1U << i)) != 0;
      const bool writes = (bits & (1U << (i + ARES_GETSOCK_MAXNUM))) != 0;
      const int events = (reads ? POLLIN : 0) | (writes ? POLLOUT : 0);
      if (events != 0)
        polled.push_back({sockets[static_cast<std::size_t>(i)], static_cast<short>(events), 0});
    }
    timeval most{};
    const int limit = poll_timeout(left);
    most.tv_sec = limit / 1000;
    most.tv_usec = limit % 1000 * 1000;
    timeval next{};
    const timeval* until = ares_timeout(channel_, &most, &next);
    const int milliseconds = static_cast<int>(until->tv_sec * 1000 + (until->tv_usec + 999) / 1000);
    if (::poll(polled.data(), polled.size(), milliseconds) < 0 && errno != EINTR) return false;
    if (polled.front().revents != 0) return false;
    for (std::size_t i = 1; i < polled.size(); ++i) {
      const short seen = polled[i].revents;
      const bool broken = (seen & (POLLERR | POLLHUP | POLLNVAL)) != 0;
      const bool readable = broken || (seen & POLLIN) != 0;
      const bool writable = (seen & POLLOUT) != 0;
      if (readable || writable)
        ares_process_fd(channel_, readable ? polled[i].fd : ARES_SOCKET_BAD,
                        writable ? polled[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what timed out
    return true;
  }

  const TimePoint deadline_;
  std::deque<Pending> pending_;  // a deque: the channel has pointers to its elements
  ares_channel channel_ = nullptr;
  int status_ = ARES_SUCCESS;
};

}  // namespace

StopEvent::StopEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

StopEvent::~StopEvent() { ::close(fd_); }

void StopEvent::fire() {
  const std::uint64_t one = 1;
  (void)!::write(fd_, &one, sizeof one);  // fails only where it has fired already
}

bool StopEvent::wait(Duration timeout) const {
  const TimePoint until = SteadyClock{}.now() + timeout;
  for (;;) {
    pollfd event{fd_, POLLIN, 0};
    const Duration left = until - SteadyClock{}.now();
    if (::poll(&event, 1, poll_timeout(left)) > 0) return true;
    if (left <= Duration(0)) return false;
  }
}

std::vector<Result<DnsAnswer>> DnsResolver::ask(const std::vector<DnsQuestion>& questions) const {
  Round round(server_, timeout_);
  for (const DnsQuestion& question : questions) round.ask(question);
  return round.wait(stop_);
}

}  // namespace baton::cluster
