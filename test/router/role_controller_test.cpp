// RoleController: moves towards what the demand wants, keeps still otherwise, never flaps.
#include "baton/router/role_controller.hpp"

#include <map>

#include "support/catch.hpp"

using namespace baton;

namespace {

// An 8B model on a large GPU, roughly: 23 us a prompt row, 4 ms to stream the weights, KV at 3.8 TB/s.
PerfProfile gpu() {
  PerfProfile p;
  p.step = 1e-4;
  p.weights = 4e-3;
  p.token = 23e-6;
  p.logits = 2e-6;
  p.pair = 1e-9;
  p.kv_token = 35e-9;
  p.link_token = 3e-6;
  p.measured = true;
  return p;
}

// Engines that compute exactly what arrives, for as long as a test likes.
struct Cluster {
  explicit Cluster(std::size_t n, RoleTargets targets) : controller(targets) {
    for (std::size_t i = 0; i < n; ++i) {
      EngineReading e;
      e.node = "e" + std::to_string(i);
      e.kv_blocks = 50'000;
      e.profile = gpu();
      engines.push_back(e);
    }
  }

  // `prefill` and `decode` tokens each second in all, contexts of `context` tokens.
  void run(double seconds, double prefill, double decode, double context) {
    for (const double end = now + seconds; now < end; now += 1) {
      const auto n = static_cast<double>(engines.size());
      for (EngineReading& e : engines) {
        e.prefill_tokens += static_cast<std::uint64_t>(prefill / n);
        e.decode_tokens += static_cast<std::uint64_t>(decode / n);
        e.running = 10;
        e.kv_tokens = static_cast<std::uint64_t>(10 * context);
      }
      if (const auto move = controller.observe(engines, now)) {
        INFO(move->why);
        const auto found = std::ranges::find(engines, move->node, &EngineReading::node);
        REQUIRE(found != engines.end());
        CHECK(found->role == move->from);
        CHECK(move->from != move->to);
        CHECK(!move->why.empty());
        found->role = move->to;
        moves.push_back(*move);
      }
    }
  }

  std::map<Role, int> roles() const {
    std::map<Role, int> count{{Role::mixed, 0}, {Role::prefill, 0}, {Role::decode, 0}};
    for (const EngineReading& e : engines) ++count[e.role];
    return count;
  }

  RoleController controller;
  std::vector<EngineReading> engines;
  std::vector<RoleMove> moves;
  double now = 0;
};

}  // namespace

TEST_CASE("nothing moves where the targets hold") {
  Cluster cluster(8, {2, 0.05});
  cluster.run(300, 20'000, 2'000, 2'000);
  CHECK(cluster.moves.empty());
}

TEST_CASE("a strict ITL target under long prompts splits the cluster, a kind one does not") {
  Cluster kind(8, {2, 0.05}), strict(8, {2, 0.006});
  kind.run(300, 150'000, 2'000, 8'000);
  strict.run(300, 150'000, 2'000, 8'000);
  CHECK(kind.roles()[Role::mixed] == 8);
  const auto roles = strict.roles();
  CHECK(roles.at(Role::mixed) == 0);
  CHECK(roles.at(Role::prefill) >= 4);
  CHECK(roles.at(Role::decode) >= 1);
}

TEST_CASE("when demand turns from prompts to output, engines follow, and then rest") {
  Cluster cluster(8, {2, 0.006});
  cluster.run(200, 150'000, 2'000, 8'000);
  const int prefill = cluster.roles()[Role::prefill];
  cluster.run(300, 20'000, 12'000, 3'000);
  CHECK(cluster.roles()[Role::prefill] < prefill);
  const std::size_t moves = cluster.moves.size();
  cluster.run(600, 20'000, 12'000, 3'000);
  CHECK(cluster.moves.size() <= moves + 1);
}

TEST_CASE(
    "where only prefill engines are left, one of them gets another role, however little there is to do") {
  Cluster cluster(4, {2, 0.05});
  for (EngineReading& e : cluster.engines) e.role = Role::prefill;
  cluster.run(60, 100, 10, 500);
  CHECK(cluster.roles()[Role::prefill] < 4);
}

TEST_CASE("demand that changes every few seconds moves nothing back and forth") {
  Cluster cluster(8, {2, 0.006});
  for (int i = 0; i < 60; ++i) {
    cluster.run(3, 150'000, 1'000, 8'000);
    cluster.run(3, 30'000, 3'000, 8'000);
  }
  CHECK(cluster.moves.size() < 20);  // 360 s, eight engines
}

TEST_CASE("one engine has one role, and an engine that starts again is no flood of tokens") {
  Cluster one(1, {0.001, 0.001});
  one.run(60, 100'000, 10'000, 8'000);
  CHECK(one.moves.empty());
  Cluster cluster(4, {2, 0.05});
  cluster.run(60, 20'000, 2'000, 2'000);
  cluster.engines[0].prefill_tokens = 0;
  cluster.engines[0].decode_tokens = 0;
  cluster.run(60, 20'000, 2'000, 2'000);
  CHECK(cluster.moves.empty());
}
