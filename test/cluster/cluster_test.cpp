#include "baton/cluster/cluster_view.hpp"
#include "baton/cluster/membership.hpp"
#include "cluster/view_recorder.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

const TimePoint kStart{1000s};
const Error kGone = make_error(ErrorCode::unavailable, "silent for 3000 ms");

NodeInfo node(const std::string& name, Role role) {
  NodeInfo info;
  info.name = name;
  info.role = role;
  return info;
}

StatusMessage ready(Role role) {
  StatusMessage status;
  status.role = role;
  status.ready = true;
  return status;
}

}  // namespace

TEST_CASE("a node comes up, reports, goes down and comes back without its past") {
  ClusterView view(node("a", Role::mixed), kStart);
  CHECK(view.self().is_self);
  CHECK(view.find("b") == nullptr);

  view.node_up(node("b", Role::prefill), kStart + 1s);
  REQUIRE(view.find("b") != nullptr);
  CHECK(view.find("b")->up);
  CHECK_FALSE(view.find("b")->accepts_work());  // not before it said so
  CHECK(view.find("b")->role() == Role::prefill);

  view.status("b", ready(Role::decode), kStart + 2s);
  CHECK(view.find("b")->accepts_work());
  CHECK(view.find("b")->role() == Role::decode);
  CHECK(view.find("b")->heard == kStart + 2s);

  StatusMessage draining = ready(Role::decode);
  draining.draining = true;
  view.status("b", draining, kStart + 3s);
  CHECK_FALSE(view.find("b")->accepts_work());

  view.status("b", ready(Role::decode), kStart + 4s);
  view.node_down("b", kGone, kStart + 5s);
  CHECK_FALSE(view.find("b")->accepts_work());
  CHECK(view.find("b")->down_reason == "silent for 3000 ms");
  CHECK(view.find("b")->since == kStart + 5s);
  CHECK(view.find("b")->status.has_value());  // for people

  view.node_up(node("b", Role::prefill), kStart + 6s);
  CHECK_FALSE(view.find("b")->status.has_value());
  CHECK(view.find("b")->down_reason.empty());
  CHECK(view.nodes().size() == 2);
}

TEST_CASE("events that are out of place change nothing") {
  ClusterView view(node("a", Role::mixed), kStart);
  const std::uint64_t version = view.version();
  view.status("b", ready(Role::mixed), kStart);
  view.node_down("b", kGone, kStart);
  view.node_down("a", kGone, kStart);
  view.node_up(node("a", Role::decode), kStart);
  CHECK(view.version() == version);
  CHECK(view.nodes().size() == 1);
  CHECK(view.self().up);
  CHECK(view.self().role() == Role::mixed);

  view.node_up(node("b", Role::mixed), kStart);
  view.node_down("b", kGone, kStart + 1s);
  view.node_down("b", make_error(ErrorCode::unavailable, "again"), kStart + 2s);
  CHECK(view.find("b")->down_reason == "silent for 3000 ms");
  view.status("b", ready(Role::mixed), kStart + 2s);
  CHECK_FALSE(view.find("b")->status.has_value());
}

TEST_CASE("this node reports, too; nodes that are long gone are forgotten") {
  ClusterView view(node("a", Role::mixed), kStart);
  view.status("a", ready(Role::decode), kStart);
  CHECK(view.self().accepts_work());

  view.node_up(node("b", Role::mixed), kStart);
  view.node_up(node("c", Role::mixed), kStart);
  view.node_down("b", kGone, kStart + 1s);
  view.forget_down(10s, kStart + 11s);
  CHECK(view.find("b") != nullptr);  // exactly as old as allowed
  const std::uint64_t version = view.version();
  view.forget_down(10s, kStart + 12s);
  CHECK(view.find("b") == nullptr);
  CHECK(view.find("c") != nullptr);
  CHECK(view.version() > version);

  const ClusterView copy = view;  // a value
  view.node_down("c", kGone, kStart + 13s);
  CHECK(copy.find("c")->up);
}

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
