// Membership by DNS against a name server that answers, changes, fails and falls silent.
#include "cluster/fake_dns.hpp"
#include "cluster/view_recorder.hpp"
#include "support/recording_logger.hpp"

using namespace baton;
using namespace baton::test;

namespace {

const std::string kService = "_peer._tcp.baton.test";

struct World {
  FakeDns server;
  RecordingLogger logger;
  ViewRecorder view;
  std::unique_ptr<Membership> membership;

  DnsOptions options(std::vector<std::string> names) const {
    DnsOptions options;
    options.names = std::move(names);
    options.server = server.address();
    options.interval = 10ms;
    options.timeout = 5s;
    return options;
  }
  void watch(DnsOptions with) {
    auto made = make_dns_membership(std::move(with), logger);
    REQUIRE(made);
    membership = *std::move(made);
    membership->watch(view.watcher());
  }
  void watch(std::vector<std::string> names) { watch(options(std::move(names))); }
  // The name server was asked a few more times, so that what it says now has been seen.
  bool asked_again() {
    const int before = server.questions();
    return eventually([&] { return server.questions() >= before + 6; });
  }
};

}  // namespace

TEST_CASE("membership by DNS keeps the contract") {
  World world;
  world.server.set_addresses("baton.test", {"10.0.0.1"});
  auto made = make_dns_membership(world.options({"baton.test:7000"}), world.logger);
  REQUIRE(made);
  check_membership(*std::move(made), {"10.0.0.1:7000"});
}

TEST_CASE("a name with a port is its A and AAAA records, and follows them") {
  World world;
  world.server.set_addresses("baton.test", {"10.0.0.2", "10.0.0.1", "fd00::1"});
  world.watch({"baton.test:7000"});
  CHECK(world.view.sees({"10.0.0.1:7000", "10.0.0.2:7000", "[fd00::1]:7000"}));
  const std::size_t calls = world.view.calls();
  world.server.set_addresses("baton.test", {"10.0.0.1", "fd00::1", "10.0.0.2"});  // another order is no news
  REQUIRE(world.asked_again());
  CHECK(world.view.calls() == calls);
  world.server.set_addresses("baton.test", {"10.0.0.3"});
  CHECK(world.view.sees({"10.0.0.3:7000"}));
  CHECK(world.logger.has("addresses=10.0.0.3:7000"));
}

TEST_CASE("SRV records say targets and ports, and follow both") {
  World world;
  world.server.set_services(kService,
                            {{"a.baton.test", 7000}, {"b.baton.test", 7001}, {"b.baton.test", 7002}});
  world.server.set_addresses("a.baton.test", {"10.0.0.1"});
  world.server.set_addresses("b.baton.test", {"10.0.0.2"});
  world.watch({kService});
  CHECK(world.view.sees({"10.0.0.1:7000", "10.0.0.2:7001", "10.0.0.2:7002"}));

  SECTION("a target moves") {
    world.server.set_addresses("a.baton.test", {"10.0.0.9"});
    CHECK(world.view.sees({"10.0.0.9:7000", "10.0.0.2:7001", "10.0.0.2:7002"}));
  }
  SECTION("a target leaves") {
    world.server.set_services(kService, {{"a.baton.test", 7000}});
    CHECK(world.view.sees({"10.0.0.1:7000"}));
  }
  SECTION("a dead target keeps its address, the others go on") {
    world.server.remove("a.baton.test");
    world.server.set_addresses("b.baton.test", {"10.0.0.3"});
    CHECK(world.view.sees({"10.0.0.1:7000", "10.0.0.3:7001", "10.0.0.3:7002"}));
    CHECK(world.logger.has("name=a.baton.test"));
  }
}

TEST_CASE("a name that is not there yet is asked until it is") {
  World world;
  world.watch({"baton.test:7000", "other.test:7000"});
  CHECK(world.view.sees({}));
  REQUIRE(
      eventually([&] { return world.logger.has("name=baton.test") && world.logger.has("name=other.test"); }));
  world.server.set_addresses("baton.test", {"10.0.0.1"});
  CHECK(world.view.sees({"10.0.0.1:7000"}));
  CHECK(world.logger.has("resolves again  name=baton.test"));
  world.server.set_addresses("other.test", {"10.0.0.2"});
  CHECK(world.view.sees({"10.0.0.1:7000", "10.0.0.2:7000"}));
}

TEST_CASE("a name server in trouble keeps the last view, and is complained about once") {
  const auto mode = GENERATE(FakeDns::Mode::fails, FakeDns::Mode::sends_garbage, FakeDns::Mode::is_silent);
  World world;
  world.server.set_addresses("baton.test", {"10.0.0.1"});
  world.server.set_services(kService, {{"a.baton.test", 7001}});
  world.server.set_addresses("a.baton.test", {"10.0.0.2"});
  DnsOptions options = world.options({"baton.test:7000", kService});
  if (mode == FakeDns::Mode::is_silent) options.timeout = 200ms;
  world.watch(options);
  REQUIRE(world.view.sees({"10.0.0.1:7000", "10.0.0.2:7001"}));

  world.server.set_mode(mode);
  REQUIRE(eventually(
      [&] { return world.logger.has("does not resolve: keeping the addresses it had  name=baton.test"); }));
  REQUIRE(world.asked_again());
  CHECK(world.view.last() == Addresses{"10.0.0.1:7000", "10.0.0.2:7001"});
  CHECK_FALSE(world.logger.repeats("does not resolve"));

  world.server.set_mode(FakeDns::Mode::answers);
  world.server.set_addresses("baton.test", {"10.0.0.7"});
  CHECK(world.view.sees({"10.0.0.2:7001", "10.0.0.7:7000"}));
  CHECK(world.logger.has("resolves again  name=baton.test"));
}

TEST_CASE("a name that loses all its records keeps the last ones") {
  World world;
  world.server.set_addresses("baton.test", {"10.0.0.1"});
  world.server.set_services(kService, {{"10.0.0.5", 7001}});
  world.watch({"baton.test:7000"});
  REQUIRE(world.view.sees({"10.0.0.1:7000"}));
  world.server.set_addresses("baton.test", {});  // there, but empty
  REQUIRE(eventually([&] { return world.logger.has("does not resolve"); }));
  world.server.remove("baton.test");  // another problem
  REQUIRE(eventually([&] { return world.logger.lines("does not resolve").size() == 2; }));
  CHECK(world.view.last() == Addresses{"10.0.0.1:7000"});
}

TEST_CASE("a membership by DNS ends at once, though the name server is silent") {
  World world;
  world.server.set_mode(FakeDns::Mode::is_silent);
  DnsOptions options = world.options({"baton.test:7000"});
  options.timeout = std::chrono::hours(1);
  world.watch(options);
  REQUIRE(eventually([&] { return world.server.questions() > 0; }));
  world.membership.reset();  // a test that hangs here has failed
  CHECK_FALSE(world.logger.has("does not resolve"));
}

TEST_CASE("wrong names and servers are named") {
  RecordingLogger logger;
  for (const char* bad : {"baton.test", "baton.test:0", ":7000", "_peer._tcp.baton.test:7000"}) {
    INFO(bad);
    DnsOptions options;
    options.names = {"fine.test:1", bad};
    const auto made = make_dns_membership(options, logger);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == ErrorCode::invalid_argument);
    CHECK(made.error().message.find(bad) != std::string::npos);
  }
  for (const char* bad : {"ns.test:53", "10.0.0.1", "10.0.0.1:0"}) {
    INFO(bad);
    DnsOptions options;
    options.names = {"fine.test:1"};
    options.server = bad;
    const auto made = make_dns_membership(options, logger);
    REQUIRE_FALSE(made);
    CHECK(made.error().message.find(bad) != std::string::npos);
  }
}
