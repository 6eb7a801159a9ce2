// The search: its answers meet the targets, nothing it could have tried is better, and it explains itself.
#include "baton/plan/search.hpp"

#include <set>
#include <utility>

#include "plan/setups.hpp"
#include "support/catch.hpp"

using namespace baton;
using plan_test::request;

TEST_CASE("what is recommended meets the targets and fits") {
  const PlanRequest r = request();
  const Plan plan = search(r);
  REQUIRE_FALSE(plan.aggregated.empty());
  REQUIRE_FALSE(plan.disaggregated.empty());
  for (const auto* choices : {&plan.aggregated, &plan.disaggregated}) {
    double before = 1e18;
    for (const Choice& c : *choices) {
      CHECK(c.estimate.ttft <= r.ttft);
      CHECK(c.estimate.tpot <= r.tpot);
      CHECK(c.estimate.decode_memory.fits);
      CHECK(c.estimate.prefill_memory.fits);
      CHECK(c.gpus_used() <= r.gpus);
      CHECK(c.tokens_per_gpu <= before);
      before = c.tokens_per_gpu;
    }
  }
  CHECK(plan.evaluated > 100);
}

TEST_CASE("no aggregated deployment that a plain loop finds is better") {
  const PlanRequest r = request();
  const Plan plan = search(r);
  for (const int tensor : {1, 2, 4, 8}) {
    for (int batch = 1; batch <= 1024; batch = batch < 8 ? batch + 1 : batch + 8) {
      EngineSetup e = r.prefill;
      e.split.tensor = e.split.expert_tensor = tensor;
      const Estimate estimate = estimate_aggregated(e, r.load, batch);
      if (estimate.ttft > r.ttft || estimate.tpot > r.tpot || !estimate.decode_memory.fits) continue;
      CHECK(estimate.tokens_per_gpu <= plan.aggregated.front().tokens_per_gpu + 1e-9);
    }
  }
}

TEST_CASE("no disaggregated deployment that a plain loop finds is better") {
  PlanRequest r = request();
  r.gpus = 4;
  const Plan plan = search(r);
  for (int p = 1; p < 4; ++p) {
    for (int batch = 8; batch <= 512; batch += 8) {
      Disaggregated d{r.prefill, r.decode, double(p), double(4 - p), 1, double(batch)};
      const Estimate estimate = estimate_disaggregated(d, r.load);
      if (estimate.ttft > r.ttft || estimate.tpot > r.tpot || !estimate.decode_memory.fits) continue;
      CHECK(estimate.tokens_per_gpu <= plan.disaggregated.front().tokens_per_gpu + 1e-9);
    }
  }
}

TEST_CASE("a slow link decides for aggregation, a fast one against it where TPOT is tight") {
  PlanRequest r = request();
  r.load = {16000, 300, 0};
  r.tpot = 0.012, r.ttft = 3;
  const auto winner = [&](double rate) {
    r.prefill.system.link_bandwidth = r.decode.system.link_bandwidth = rate;
    const Plan plan = search(r);
    REQUIRE(plan.best() != nullptr);
    return plan.best()->disaggregated;
  };
  CHECK(winner(50e9));
  CHECK_FALSE(winner(0.1e9));
}

TEST_CASE("fronts rise in one measure as they fall in the other") {
  const Plan plan = search(request());
  for (const auto* front : {&plan.aggregated_front, &plan.disaggregated_front}) {
    REQUIRE(front->size() > 3);
    for (std::size_t i = 1; i < front->size(); ++i) {
      CHECK((*front)[i].tokens_per_user > (*front)[i - 1].tokens_per_user);
      CHECK((*front)[i].tokens_per_gpu < (*front)[i - 1].tokens_per_gpu);
    }
  }
}

TEST_CASE("a wanted rate needs no more replicas than it needs") {
  PlanRequest r = request();
  r.disaggregated = false;
  const double each = search(r).aggregated.front().estimate.requests_per_second;
  r.request_rate = 1.5 * each;
  CHECK(search(r).aggregated.front().replicas == 2);
}

TEST_CASE("what cannot be is explained") {
  PlanRequest r = request();
  r.tpot = 1e-6;
  CHECK(search(r).best() == nullptr);
  CHECK(search(r).reason(r).find("Nothing meets the targets") == 0);
  r.prefill.system.memory_bytes = r.decode.system.memory_bytes = 1e9;
  CHECK(search(r).reason(r).find("The weights do not fit") == 0);
  const PlanRequest good = request();
  const std::string why = search(good).reason(good);
  CHECK(why.find("KV cache is 500 MiB") != std::string::npos);
  CHECK(why.find(" wins by ") != std::string::npos);
}

TEST_CASE("an engine that spans one GPU is offered nothing else") {
  PlanRequest r = request();
  r.limits = {};
  const Plan plan = search(r);
  for (const Choice& c : plan.aggregated) CHECK(c.split.gpus() == 1);
  for (const Choice& c : plan.disaggregated) CHECK((c.prefill.gpus() == 1 && c.decode.gpus() == 1));
}

TEST_CASE("a model that fits no GPU is shared out, prefill and decode engines each in their own way") {
  const PlanRequest r = plan_test::seventy_billion_request();
  const Plan plan = search(r);
  REQUIRE_FALSE(plan.aggregated.empty());
  for (const Choice& c : plan.aggregated) {
    CHECK((c.split.tensor == 4 || c.split.tensor == 8));  // two have no room beside the weights
    CHECK((c.split.pipeline == 1 && c.split.data == 1));
    CHECK(c.gpus_used() <= r.gpus);
  }
  std::set<std::pair<int, int>> pairs;
  for (const Choice& c : plan.disaggregated) pairs.emplace(c.prefill.tensor, c.decode.tensor);
  CHECK(pairs == std::set<std::pair<int, int>>{{4, 4}, {4, 8}, {8, 4}, {8, 8}});
}

TEST_CASE("widths that do not divide the model or the machine are not proposed") {
  const auto widths = [](const PlanRequest& r) {
    std::set<int> all;
    const Plan plan = search(r);
    for (const Choice& c : plan.aggregated) all.insert(c.split.tensor);
    for (const Choice& c : plan.disaggregated) all.insert({c.prefill.tensor, c.decode.tensor});
    return all;
  };
  PlanRequest r = plan_test::seventy_billion_request();
  const auto change = [&](auto&& with) {
    r = plan_test::seventy_billion_request();
    with(r.prefill), with(r.decode);
  };
  CHECK(widths(r) == std::set{4, 8});
  change([](EngineSetup& e) { e.model.kv_heads = 4; });
  CHECK(widths(r) == std::set{4});
  change([](EngineSetup& e) { e.model.ffn = 28676; });
  CHECK(widths(r) == std::set{4});
  change([](EngineSetup& e) { e.system.node_gpus = 4; });
  CHECK(widths(r) == std::set{4});
  change([](EngineSetup& e) { e.system.node_gpus = 12, e.system.memory_bytes = 192e9; });
  CHECK(widths(r) == std::set{1, 2, 4});  // eight would leave four of each machine
  change([](EngineSetup& e) { e.system.peer_bandwidth = 0; });
  CHECK(widths(r).empty());
  // Another engine may have KV heads twice.
  change([](EngineSetup& e) { e.model.kv_heads = 4; });
  r.limits.even_shares = false;
  CHECK(widths(r) == std::set{4, 8});
}
