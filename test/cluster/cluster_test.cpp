#include "baton/cluster/membership.hpp"
#include "cluster/view_recorder.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;

TEST_CASE("static membership is the --peer list, each address once") {
  auto membership = make_static_membership({"node-1:7000", "[::1]:7000", "node-1:7000"});
  REQUIRE(membership);
  check_membership(*std::move(membership), {"node-1:7000", "[::1]:7000"});
  auto none = make_static_membership({});
  REQUIRE(none);
  check_membership(*std::move(none), {});

  for (const char* bad : {"node-1", "node-1:0", ":1"}) {
    INFO(bad);
    const auto result = make_static_membership({"fine:1", bad});
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::invalid_argument);
    CHECK(result.error().message.find(bad) != std::string::npos);
  }
}

TEST_CASE("a combined membership is the union, each address once") {
  // One that changes when told to.
  struct Told final : Membership {
    void watch(Watcher watcher) override {
      tell = std::move(watcher);
      tell({});
    }
    Result<void> announce(const NodeInfo&, const std::string& address) override {
      announced = address;
      return {};
    }
    void leave() override { announced.clear(); }
    Watcher tell;
    std::string announced;
  };
  const auto make = [](Told** told) {
    std::vector<std::unique_ptr<Membership>> sources;
    sources.push_back(*make_static_membership({"a:1", "b:1"}));
    auto second = std::make_unique<Told>();
    *told = second.get();
    sources.push_back(std::move(second));
    return make_combined_membership(std::move(sources));
  };
  Told* told = nullptr;
  check_membership(make(&told), {"a:1", "b:1"});

  const auto membership = make(&told);
  ViewRecorder view;
  membership->watch(view.watcher());
  CHECK(view.calls() == 1);
  told->tell({"b:1", "c:1"});
  CHECK(view.sees({"a:1", "b:1", "c:1"}));
  told->tell({"c:1"});  // a and b are in the list by hand
  CHECK(view.calls() == 2);
  told->tell({});
  CHECK(view.sees({"a:1", "b:1"}));
  CHECK(membership->announce(named("a"), "a:1"));
  CHECK(told->announced == "a:1");
  membership->leave();
  CHECK(told->announced.empty());
}
