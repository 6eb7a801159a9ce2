// A name server on the loopback interface (UDP) that answers A, AAAA and SRV from a table that may change,
// and that can fail in the ways that name servers do.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/sockets.hpp"

namespace baton::test {

class FakeDns {
 public:
  enum class Mode { answers, is_silent, fails, sends_garbage };
  struct Service {
    std::string target;
    std::uint16_t port = 0;
  };

  FakeDns();
  ~FakeDns();

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void set_mode(Mode mode) { mode_ = mode; }
  // Replaces what the name has; a name that was never set does not exist.
  void set_addresses(const std::string& name, std::vector<std::string> addresses);
  void set_services(const std::string& name, std::vector<Service> services);
  void remove(const std::string& name);
  int questions() const { return questions_; }

 private:
  struct Records {
    std::vector<std::string> addresses;
    std::vector<Service> services;
  };
  void serve();
  std::string answer(const std::string& question);

  Socket socket_;
  std::uint16_t port_ = 0;
  std::atomic<Mode> mode_{Mode::answers};
  std::atomic<int> questions_{0};
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  std::map<std::string, Records> names_;
  std::thread thread_;
};

}  // namespace baton::test
