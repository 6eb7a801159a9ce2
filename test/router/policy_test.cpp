// Routing policies: what a route is predicted to cost, and who is chosen.
#include "baton/router/policy.hpp"

#include <map>

#include "support/catch.hpp"

using namespace baton;

namespace {

Candidate engine(std::string name, Role role) {
  Candidate c;
  c.node = std::move(name);
  c.role = role;
  c.free_tokens = 100000;
  c.profile.step = 1e-3;
  c.profile.token = 1e-4;
  c.profile.kv_token = 1e-7;
  c.profile.link_token = 1e-5;
  c.profile.link_latency = 1e-3;
  return c;
}

RouteQuery prompt(std::size_t tokens, std::int32_t max_tokens = 100) {
  return {.prompt_tokens = tokens, .max_tokens = max_tokens, .block_size = 16, .expected_tokens = 50};
}

Route choose(const std::vector<Candidate>& candidates, const RouteQuery& query,
             std::string_view name = "kv") {
  auto route = make_policy(name)->choose(query, candidates);
  REQUIRE(route);
  return *route;
}

}  // namespace

TEST_CASE("kv prefers the engine that holds the prefix, until its queue costs more than the prefix saves") {
  std::vector<Candidate> engines{engine("a", Role::mixed), engine("b", Role::mixed)};
  CHECK(choose(engines, prompt(4000)).prefill_node == "a");  // equal: by name
  engines[1].held_blocks = 200;                              // 3200 tokens, 0.32 s
  CHECK(choose(engines, prompt(4000)).prefill_node == "b");
  engines[1].waiting_prefill_tokens = 2500;
  CHECK(choose(engines, prompt(4000)).prefill_node == "b");
  engines[1].waiting_prefill_tokens = 4000;
  CHECK(choose(engines, prompt(4000)).prefill_node == "a");
}

TEST_CASE("kv counts what a prefill costs the decodes beside it: disaggregation follows from the costs") {
  std::vector<Candidate> engines{engine("mixed", Role::mixed), engine("prefill", Role::prefill),
                                 engine("decode", Role::decode)};
  CHECK(choose(engines, prompt(64)).prefill_node == "mixed");  // nothing to disturb, no link to cross
  CHECK_FALSE(choose(engines, prompt(64)).disaggregated());
  engines[0].running = 8;
  const Route route = choose(engines, prompt(4000));
  CHECK(route.prefill_node == "prefill");
  CHECK(route.decode_node == "decode");
  CHECK(route.cost.transfer > 0);
  CHECK(route.cost.slowdown == Approx(0));
}

TEST_CASE("kv sends generation where blocks are held and where there is room") {
  std::vector<Candidate> engines{engine("p", Role::prefill), engine("d1", Role::decode),
                                 engine("d2", Role::decode)};
  CHECK(choose(engines, prompt(4000)).decode_node == "d1");
  engines[2].held_blocks = 240;
  CHECK(choose(engines, prompt(4000)).decode_node == "d2");
  engines[2].running = 10;
  engines[2].kv_tokens = 40000;
  engines[2].free_tokens = 0;  // it would wait for a whole request to end
  CHECK(choose(engines, prompt(4000)).decode_node == "d1");
}

TEST_CASE("the parts of a cost") {
  const Candidate p = engine("p", Role::prefill);
  Candidate d = engine("d", Role::decode);
  const auto cheapest = [](const RouteQuery& query, const std::vector<Candidate>& engines) {
    return predicted_routes(query, engines, 1).at(0).cost;
  };
  const RouteCost cost = cheapest(prompt(1024), {p, d});
  CHECK(cost.queue == Approx(0));
  CHECK(cost.prefill == Approx(2 * 1e-3 + 1024 * 1e-4 + (512 + 1024) * 1e-7).epsilon(0.01));
  CHECK(cost.transfer == Approx(1e-3 + 512 * 1e-5));  // the first chunk travelled meanwhile
  CHECK(cost.decode == Approx(50 * (1e-3 + 1e-4 + (1024 + 25) * 1e-7)));
  CHECK(cost.wait == Approx(0));
  d.held_blocks = 64;
  CHECK(cheapest(prompt(1024), {p, d}).transfer == Approx(0));
  CHECK(cheapest(prompt(1024, 1), {p}).decode == Approx(0));  // one token comes with the prefill
}

TEST_CASE("roles hold for every policy") {
  const std::string_view name = GENERATE("kv", "round_robin", "least_loaded", "random");
  CAPTURE(name);
  const std::vector<Candidate> split{engine("p1", Role::prefill), engine("p2", Role::prefill),
                                     engine("d1", Role::decode), engine("d2", Role::decode)};
  const auto policy = make_policy(name);
  for (int i = 0; i < 20; ++i) {
    const auto route = policy->choose(prompt(100), split);
    REQUIRE(route);
    CHECK(route->prefill_node.starts_with("p"));
    CHECK(route->decode_node.starts_with("d"));
    const auto again = policy->choose_decode(prompt(100), split, "d1");
    REQUIRE(again);
    CHECK(*again == "d2");
  }
  CHECK_FALSE(choose(split, prompt(100, 1), name).disaggregated());
  const std::vector<Candidate> only_decode{engine("d1", Role::decode)};
  CHECK(choose(only_decode, prompt(100), name).prefill_node == "d1");
  const std::vector<Candidate> only_prefill{engine("p1", Role::prefill)};
  CHECK(make_policy(name)->choose(prompt(100), only_prefill).error().code == ErrorCode::unavailable);
  CHECK(make_policy(name)->choose(prompt(100), {}).error().code == ErrorCode::unavailable);
  CHECK(make_policy(name)->choose_decode(prompt(100), only_decode, "d1").error().code ==
        ErrorCode::unavailable);
}

TEST_CASE("round_robin takes turns, least_loaded counts requests, random is seeded") {
  std::vector<Candidate> engines{engine("a", Role::mixed), engine("b", Role::mixed),
                                 engine("c", Role::mixed)};
  const auto turns = make_policy("round_robin");
  std::map<std::string, int> taken;
  for (int i = 0; i < 9; ++i) ++taken[turns->choose(prompt(10), engines)->prefill_node];
  CHECK(taken == std::map<std::string, int>{{"a", 3}, {"b", 3}, {"c", 3}});
  engines[0].running = 2, engines[1].waiting = 1, engines[2].running = 2;
  CHECK(choose(engines, prompt(10), "least_loaded").prefill_node == "b");
  const auto first = make_policy("random", 5), second = make_policy("random", 5);
  for (int i = 0; i < 20; ++i)
    CHECK(first->choose(prompt(10), engines)->prefill_node ==
          second->choose(prompt(10), engines)->prefill_node);
  CHECK(make_policy("fastest") == nullptr);
}
