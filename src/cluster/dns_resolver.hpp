// Questions to name servers, through c-ares: the only file that knows it, with its .cpp. getaddrinfo knows no
// SRV records, and nothing bounds how long it takes.
//
// Blocking, for a thread of its own; every wait ends at the deadline or when the stop event fires. Addresses
// and names come in DNS's order; whoever compares them sorts them.
#pragma once

#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/address.hpp"

namespace baton::cluster {

// An eventfd that one thread fires and another polls.
class StopEvent {
 public:
  StopEvent();
  ~StopEvent();
  StopEvent(const StopEvent&) = delete;
  StopEvent& operator=(const StopEvent&) = delete;

  int fd() const { return fd_; }
  void fire();
  bool wait(Duration timeout) const;  // true: fired

 private:
  int fd_ = -1;
};

struct DnsQuestion {
  enum class Kind { addresses, services };
  Kind kind = Kind::addresses;
  std::string name;
};
// For addresses: IP literals with port 0. For services: the targets' names with their ports.
using DnsAnswer = std::vector<HostPort>;

class DnsResolver {
 public:
  // `server`: "address:port", or empty for the system's.
  DnsResolver(std::string server, Duration timeout, const StopEvent& stop)
      : server_(std::move(server)), timeout_(timeout), stop_(stop) {}

  // All at once. One result for each question, in order; never an empty answer: unavailable says why.
  std::vector<Result<DnsAnswer>> ask(const std::vector<DnsQuestion>& questions) const;

 private:
  const std::string server_;
  const Duration timeout_;
  const StopEvent& stop_;
};

}  // namespace baton::cluster
