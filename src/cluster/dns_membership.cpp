// Names to addresses, again and again, on a thread of its own.
//
// Every name asked for, and every target of an SRV record, keeps its last answer where the next one fails; so
// one dead name never freezes the others. What left the SRV records is forgotten.
#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <exception>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "baton/cluster/membership.hpp"
#include "baton/peer/address.hpp"
#include "cluster/dns_resolver.hpp"
#include "cluster/problem_log.hpp"

namespace baton {
namespace {

using cluster::DnsAnswer;
using cluster::DnsQuestion;
using cluster::DnsResolver;
using cluster::ProblemLog;
using cluster::StopEvent;

struct Name {
  std::string text;
  std::uint16_t port = 0;
  bool is_service() const { return port == 0; }
};

Result<Name> parse_name(const std::string& text) {
  if (text.starts_with('_')) {
    if (text.find(':') == std::string::npos) return Name{text, 0};
    return make_error(ErrorCode::invalid_argument,
                      "'" + text + "': SRV records say the port, so a name with them has none");
  }
  auto address = parse_host_port(text);
  if (!address) return std::move(address).error();
  if (address->port == 0)
    return make_error(ErrorCode::invalid_argument, "'" + text + "': the port must not be 0");
  return Name{address->host, address->port};
}

class DnsMembership final : public Membership {
 public:
  DnsMembership(const DnsOptions& options, std::vector<Name> names, Logger& logger)
      : names_(std::move(names)),
        interval_(options.interval),
        logger_(logger),
        resolver_(options.server, options.timeout, stop_) {}
  ~DnsMembership() override {
    stop_.fire();
    if (thread_.joinable()) thread_.join();
  }

  void watch(Watcher watcher) override {
    watcher_ = std::move(watcher);
    watcher_({});
    thread_ = std::thread([this] { run(); });
  }
  Result<void> announce(const NodeInfo&, const std::string&) override { return {}; }
  void leave() override {}

 private:
  void run() {
    do {
      try {
        round();
      } catch (const std::exception& e) {
        logger_.error("exception while resolving the members' names", {{"what", e.what()}});
      }
    } while (!stop_.wait(interval_));
  }

  void round() {
    std::vector<DnsQuestion> services;
    std::vector<DnsQuestion> hosts;
    for (const Name& name : names_) {
      if (name.is_service()) services.push_back({DnsQuestion::Kind::services, name.text});
    }
    ask(services, services_);
    std::set<std::pair<std::string, std::uint16_t>> wanted;
    for (const Name& name : names_) {
      if (!name.is_service()) wanted.emplace(name.text, name.port);
      for (const HostPort& target : name.is_service() ? services_[name.text] : DnsAnswer{})
        wanted.emplace(target.host, target.port);
    }
    std::set<std::string> asked;
    for (const auto& [host, port] : wanted) {
      if (asked.insert(host).second) hosts.push_back({DnsQuestion::Kind::addresses, host});
    }
    ask(hosts, hosts_);
    std::erase_if(hosts_, [&](const auto& entry) { return !asked.contains(entry.first); });
    std::erase_if(problems_, [&](const auto& entry) {
      return !asked.contains(entry.first) && !services_.contains(entry.first);
    });
    std::set<std::string> addresses;
    for (const auto& [host, port] : wanted) {
      for (const HostPort& address : hosts_[host]) addresses.insert(to_string(HostPort{address.host, port}));
    }
    publish({addresses.begin(), addresses.end()});
  }

  // What fails keeps what `last` has.
  void ask(const std::vector<DnsQuestion>& questions, std::map<std::string, DnsAnswer>& last) {
    if (questions.empty()) return;
    std::vector<Result<DnsAnswer>> answers = resolver_.ask(questions);
    if (stop_.wait(Duration(0))) return;  // then they failed because of that
    for (std::size_t i = 0; i < questions.size(); ++i) {
      const std::string& name = questions[i].name;
      ProblemLog& problem =
          problems_
              .try_emplace(name, logger_, LogField{"name", name},
                           "a name of the cluster does not resolve: keeping the addresses it had",
                           "a name of the cluster resolves again")
              .first->second;
      if (answers[i]) {
        problem.succeeded();
        last[name] = *std::move(answers[i]);
      } else {
        problem.failed(answers[i].error().message);
      }
    }
  }

  void publish(std::vector<std::string> addresses) {
    if (addresses == published_) return;
    published_ = std::move(addresses);
    std::string text;
    for (const std::string& address : published_) text += (text.empty() ? "" : " ") + address;
    logger_.info("the cluster's addresses in DNS", {{"addresses", text}});
    watcher_(published_);
  }

  const std::vector<Name> names_;
  const Duration interval_;
  Logger& logger_;
  StopEvent stop_;
  const DnsResolver resolver_;
  Watcher watcher_;
  // The thread's own.
  std::map<std::string, DnsAnswer> services_;   // by SRV name
  std::map<std::string, DnsAnswer> hosts_;      // by host name
  std::map<std::string, ProblemLog> problems_;  // by either
  std::vector<std::string> published_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Membership>> make_dns_membership(DnsOptions options, Logger& logger) {
  std::vector<Name> names;
  for (const std::string& text : options.names) {
    auto name = parse_name(text);
    if (!name) return make_error(ErrorCode::invalid_argument, "name " + name.error().message, "dns");
    names.push_back(*std::move(name));
  }
  if (!options.server.empty()) {
    const auto server = parse_host_port(options.server);
    boost::system::error_code not_an_address;
    if (server) boost::asio::ip::make_address(server->host, not_an_address);
    if (!server || not_an_address || server->port == 0) {
      return make_error(ErrorCode::invalid_argument,
                        "'" + options.server + "' is not the address and port of a name server",
                        "dns_server");
    }
    options.server = to_string(*server);
  }
  return std::unique_ptr<Membership>(std::make_unique<DnsMembership>(options, std::move(names), logger));
}

}  // namespace baton
