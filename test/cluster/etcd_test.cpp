// Membership by etcd against a gateway that dies, freezes, forgets, compacts and talks nonsense.
#include "cluster/fake_etcd.hpp"
#include "cluster/view_recorder.hpp"
#include "support/recording_logger.hpp"

using namespace baton;
using namespace baton::test;

namespace {

const std::string kPrefix = "/baton/nodes/";
const std::string kNoView = "etcd does not tell the nodes: keeping the last view";

std::string value(const std::string& address) { return R"({"address":")" + address + R"("})"; }

// One node's membership.
struct Member {
  explicit Member(std::vector<std::string> endpoints) { options.endpoints = std::move(endpoints); }
  explicit Member(const FakeEtcd& etcd) : Member(std::vector{etcd.url()}) {}
  Member& start() {
    auto made = make_etcd_membership(options, logger);
    REQUIRE(made);
    membership = *std::move(made);
    membership->watch(view.watcher());
    return *this;
  }
  Member& announce(const std::string& name, const std::string& address) {
    REQUIRE(membership->announce(named(name), address));
    return *this;
  }
  EtcdOptions options;
  RecordingLogger logger;
  ViewRecorder view;
  std::unique_ptr<Membership> membership;  // last: it uses the others
};

bool has_key(FakeEtcd& etcd, const std::string& name) { return etcd.keys().contains(kPrefix + name); }

}  // namespace

TEST_CASE("membership by etcd keeps the contract") {
  FakeEtcd etcd;
  etcd.put(kPrefix + "by-hand", value("node-1:7000"));
  Member member(etcd);
  auto made = make_etcd_membership(member.options, member.logger);
  REQUIRE(made);
  check_membership(*std::move(made), {"node-1:7000"});
}

TEST_CASE("nodes find each other in etcd, and those that leave are gone") {
  FakeEtcd etcd;
  etcd.put("/baton/node", value("other:1"));    // beside the prefix
  etcd.put("/baton/nodes0", value("other:2"));  // right behind its range
  Member a(etcd);
  Member b(etcd);
  a.start().announce("a", "10.0.0.1:7000");
  CHECK(a.view.sees({"10.0.0.1:7000"}));
  b.start().announce("b", "[fd00::1]:7000");
  CHECK(a.view.sees({"10.0.0.1:7000", "[fd00::1]:7000"}));
  CHECK(b.view.sees({"10.0.0.1:7000", "[fd00::1]:7000"}));
  CHECK(etcd.keys().at(kPrefix + "b").find(R"("name":"b")") != std::string::npos);
  CHECK(etcd.leases() == 2);

  a.membership->leave();
  CHECK(b.view.sees({"[fd00::1]:7000"}));
  CHECK(a.view.sees({"[fd00::1]:7000"}));  // still watching
  CHECK(etcd.leases() == 1);
  b.membership.reset();
  CHECK(a.view.sees({}));
  CHECK(etcd.leases() == 0);
}

TEST_CASE("a stream that is cut goes on where it ended") {
  FakeEtcd etcd;
  Member a(etcd);
  a.start();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(eventually([&] { return etcd.watches() == i + 1; }));
    etcd.cut_streams();
    etcd.put(kPrefix + "x", value("x:" + std::to_string(1000 + i)));  // while nobody watches
    CHECK(a.view.sees({"x:" + std::to_string(1000 + i)}));
  }
  CHECK_FALSE(a.logger.has(kNoView));
}

TEST_CASE("a quiet stream is opened anew from time to time") {
  FakeEtcd etcd;
  Member a(etcd);
  a.options.watch_renewal = 50ms;
  a.start();
  CHECK(eventually([&] { return etcd.watches() >= 3; }));
  etcd.put(kPrefix + "x", value("x:1"));
  CHECK(a.view.sees({"x:1"}));
}

TEST_CASE("what was compacted away meanwhile is listed") {
  FakeEtcd etcd;
  etcd.put(kPrefix + "x", value("x:1"));
  etcd.put(kPrefix + "y", value("y:1"));
  Member a(etcd);
  a.start();
  REQUIRE(a.view.sees({"x:1", "y:1"}));
  REQUIRE(eventually([&] { return etcd.watches() == 1; }));
  etcd.go_down();
  etcd.remove(kPrefix + "x");
  etcd.put(kPrefix + "z", value("z:1"));
  etcd.compact();
  etcd.come_up();
  CHECK(a.view.sees({"y:1", "z:1"}));
}

TEST_CASE("an expired lease is granted anew, and a deleted key put again") {
  FakeEtcd etcd;
  Member a(etcd);
  a.options.lease_ttl = 1s;
  a.start().announce("a", "a:1");
  REQUIRE(a.view.sees({"a:1"}));
  SECTION("the lease") {
    etcd.expire_leases();
    CHECK(eventually([&] { return etcd.grants() == 2 && has_key(etcd, "a"); }));
    CHECK(a.view.sees({"a:1"}));
    // Found out by a keepalive, or by a put that was already under way.
    CHECK((a.logger.has("has expired") || a.logger.has("lease not found")));
  }
  SECTION("the key") {
    etcd.remove(kPrefix + "a");
    CHECK(eventually([&] { return has_key(etcd, "a"); }));
    CHECK(etcd.grants() == 1);
  }
  SECTION("announced anew") {
    a.announce("a", "a:2");
    CHECK(a.view.sees({"a:2"}));
  }
}

TEST_CASE("etcd may be gone for any time: the last view stays, and it is said once") {
  FakeEtcd etcd;
  etcd.put(kPrefix + "x", value("x:1"));
  Member a(etcd);
  a.options.lease_ttl = 1s;
  a.start().announce("a", "a:1");
  REQUIRE(a.view.sees({"x:1", "a:1"}));
  const std::size_t calls = a.view.calls();
  etcd.go_down();
  REQUIRE(eventually([&] { return a.logger.has(kNoView) && a.logger.has("cannot be announced"); }));
  etcd.expire_leases();
  std::this_thread::sleep_for(500ms);  // a few attempts
  CHECK(a.view.calls() == calls);
  CHECK_FALSE(a.logger.repeats(kNoView));
  CHECK_FALSE(a.logger.repeats("cannot be announced"));
  etcd.put(kPrefix + "y", value("y:1"));
  etcd.come_up();
  CHECK(a.view.sees({"x:1", "y:1", "a:1"}));
  CHECK(a.logger.has("etcd tells the nodes again"));
  CHECK(has_key(etcd, "a"));
}

TEST_CASE("an etcd that is not there yet is waited for") {
  FakeEtcd etcd;
  etcd.go_down();
  Member a(etcd);
  a.start().announce("a", "a:1");
  REQUIRE(eventually([&] { return a.logger.has(kNoView); }));
  etcd.come_up();
  CHECK(a.view.sees({"a:1"}));
}

TEST_CASE("an etcd that has lost its data hears of everybody again") {
  FakeEtcd etcd;
  Member a(etcd);
  a.options.lease_ttl = 1s;
  a.start().announce("a", "a:1");
  for (int i = 0; i < 20; ++i) etcd.put(kPrefix + "x", value("x:" + std::to_string(1 + i)));
  REQUIRE(a.view.sees({"a:1", "x:20"}));
  REQUIRE(eventually([&] { return etcd.watches() == 1; }));
  etcd.lose_data();  // its revisions begin anew: far behind what was seen
  CHECK(a.view.sees({"a:1"}));
  CHECK(eventually([&] { return has_key(etcd, "a"); }));
  etcd.put(kPrefix + "y", value("y:1"));
  CHECK(a.view.sees({"a:1", "y:1"}));
}

TEST_CASE("an etcd that hangs, cuts or talks nonsense changes nothing") {
  const auto mode =
      GENERATE(FakeEtcd::Mode::hangs, FakeEtcd::Mode::talks_nonsense, FakeEtcd::Mode::cuts_at_once);
  FakeEtcd etcd;
  etcd.put(kPrefix + "x", value("x:1"));
  Member a(etcd);
  a.options.timeout = 200ms;
  a.options.lease_ttl = 1s;
  a.start().announce("a", "a:1");
  REQUIRE(a.view.sees({"a:1", "x:1"}));
  etcd.set_mode(mode);
  REQUIRE(eventually([&] { return a.logger.has(kNoView); }));
  CHECK(a.view.last() == Addresses{"a:1", "x:1"});

  SECTION("and it comes back") {
    etcd.set_mode(FakeEtcd::Mode::answers);
    etcd.put(kPrefix + "y", value("y:1"));
    CHECK(a.view.sees({"a:1", "x:1", "y:1"}));
  }
  SECTION("nor does it hold up the end") { a.membership.reset(); }
}

TEST_CASE("with several endpoints one that answers is enough") {
  FakeEtcd frozen;
  FakeEtcd etcd;
  frozen.set_mode(FakeEtcd::Mode::hangs);
  const std::string nobody = "http://127.0.0.1:" + std::to_string(free_port());
  etcd.put(kPrefix + "x", value("x:1"));
  Member a({nobody, frozen.url(), etcd.url() + "/"});
  a.options.timeout = 200ms;
  a.start().announce("a", "a:1");
  CHECK(a.view.sees({"a:1", "x:1"}));
  CHECK(has_key(etcd, "a"));
  etcd.go_down();
  REQUIRE(eventually([&] { return a.logger.has(kNoView); }));
  CHECK(a.logger.has("no answer in time; "));  // each endpoint's reason
  CHECK(a.view.last() == Addresses{"a:1", "x:1"});
}

TEST_CASE("wrong entries are left out") {
  FakeEtcd etcd;
  for (const char* wrong : {"", "{", "[]", R"({"address":1})", R"({"address":"x"})", R"({"address":"x:0"})"})
    etcd.put(kPrefix + "wrong" + wrong, wrong);
  etcd.put(kPrefix + "x", value("x:1"));
  Member a(etcd);
  a.start();
  CHECK(a.view.sees({"x:1"}));
  etcd.put(kPrefix + "x", "now wrong, too");
  CHECK(a.view.sees({}));
  CHECK(a.logger.has("left out  key=" + kPrefix + "x"));
}

TEST_CASE("wrong options and announcements are named") {
  for (const char* bad :
       {"", "127.0.0.1:2379", "https://a:2379", "http://a", "http://a:0", "http://a:1/v3"}) {
    INFO(bad);
    Member member(std::vector<std::string>{"http://fine:1", bad});
    const auto made = make_etcd_membership(member.options, member.logger);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == ErrorCode::invalid_argument);
    CHECK(made.error().message.find(bad) != std::string::npos);
  }
  Member none(std::vector<std::string>{});
  CHECK_FALSE(make_etcd_membership(none.options, none.logger));
  Member member(std::vector<std::string>{"http://127.0.0.1:1"});
  const auto made = make_etcd_membership(member.options, member.logger);
  REQUIRE(made);
  CHECK_FALSE((*made)->announce(named("a"), "no address"));
  CHECK_FALSE((*made)->announce(named(""), "a:1"));
}
