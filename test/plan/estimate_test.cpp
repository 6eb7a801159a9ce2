// Estimates: what must hold of any deployment, whatever the coefficients.
#include "baton/plan/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "plan/setups.hpp"
#include "support/catch.hpp"

using namespace baton;
using plan_test::engine;

TEST_CASE("aggregated: more requests, more throughput, longer waits") {
  const Workload load{4000, 500, 0};
  Estimate before = estimate_aggregated(engine(), load, 1);
  for (const double batch : {2.0, 8.0, 32.0, 128.0}) {
    const Estimate now = estimate_aggregated(engine(), load, batch);
    CHECK(now.tokens_per_gpu > before.tokens_per_gpu);
    CHECK(now.tpot > before.tpot);
    CHECK(now.ttft > before.ttft);
    CHECK(now.requests_per_second * now.latency == Approx(batch));  // Little's law: the loop is closed
    before = now;
  }
}

TEST_CASE("aggregated: TPOT is at least what must be streamed, TTFT at least the prompt's products") {
  const EngineSetup e = engine();
  const Estimate one = estimate_aggregated(e, {4000, 500, 0}, 1);
  CHECK(one.tpot > e.model.dense_parameters() * 2 / e.system.memory_bandwidth);
  CHECK(one.ttft > 2 * e.model.dense_parameters() * 4000 / e.system.flops_bf16);
  const Estimate cached = estimate_aggregated(e, {4000, 500, 3500}, 1);
  CHECK(cached.ttft < one.ttft / 1.5);
}

TEST_CASE("memory: what does not fit is said, and requests that find no room wait") {
  EngineSetup e = engine();
  const Workload load{4000, 500, 0};
  const Memory all = memory_needed(e, load, 100);
  CHECK(all.weights == Approx(16.06e9).epsilon(0.01));
  CHECK(all.kv == Approx(100.0 * 4500 * 131072));
  CHECK(all.fits);
  CHECK_FALSE(memory_needed(e, load, all.kv_requests + 1).fits);
  CHECK(memory_needed(e, load, all.kv_requests).fits);
  const double many = 2 * all.kv_requests;
  CHECK(estimate_aggregated(e, load, many).ttft > 300 * estimate_aggregated(e, load, many).tpot);
  e.split.tensor = 2;
  CHECK(memory_needed(e, load, 100).weights == Approx(all.weights / 2));
  CHECK(memory_needed(e, load, 100).kv == Approx(all.kv / 2));
  e.split = {.tensor = 1, .data = 2};  // each group has all attention weights, and half of the requests
  CHECK(memory_needed(e, load, 100).weights == Approx(all.weights));
  CHECK(memory_needed(e, load, 100).kv == Approx(all.kv / 2));
}

TEST_CASE("70B over four GPUs: memory, streamed bytes and collectives as one adds them up") {
  EngineSetup e = plan_test::seventy_billion();
  e.split.tensor = 4;
  // A layer: 8192 x (64 + 2 x 8) x 128 and 8192 x 8192 of attention, 3 x 8192 x 28672.
  const double layers = 80.0 * (8192.0 * 80 * 128 + 8192.0 * 8192 + 3 * 8192.0 * 28672);
  const double table = 128256.0 * 8192;
  CHECK(layers / 1e9 == Approx(68.45).epsilon(0.001));
  const Memory memory = memory_needed(e, {4000, 500, 0}, 10);
  CHECK(memory.weights == Approx(layers / 4 * 2 + table * 2 + table / 4 * 2));  // 36.9 GB
  CHECK(memory.kv == Approx(10.0 * 4500 * 80 * 2 * 2 * 128 * 2));               // two of eight heads
  CHECK(memory.fits);
  e.split.tensor = 2;
  CHECK_FALSE(memory_needed(e, {4000, 500, 0}, 1).fits);  // 71.6 GB of 72
  e.split.tensor = 4;
  const Estimate one = estimate_aggregated(e, {4000, 500, 0}, 1);
  CHECK(one.tpot > (layers / 4 * 2 + table / 4 * 2) / e.system.memory_bandwidth);
  const auto collectives = std::ranges::find(one.operations, "collectives", &Operation::name);
  REQUIRE(collectives != one.operations.end());
  const double row = 2 * 80 * 8192.0 * 2 * 2 * 3 / 4 / (450e9 * e.profile.traits.exchange_rate);
  CHECK(collectives->prefill == Approx(4000 * row));
  CHECK(collectives->decode == Approx(row));
  const auto latencies = std::ranges::find(one.operations, "launches, latencies", &Operation::name);
  EngineSetup none = e;
  none.profile.traits.exchange = none.profile.traits.exchange_gpu = 0;
  const Estimate at_once = estimate_aggregated(none, {4000, 500, 0}, 1);
  CHECK(latencies->decode -
            std::ranges::find(at_once.operations, "launches, latencies", &Operation::name)->decode ==
        Approx(161 * (e.profile.traits.exchange + 4 * e.profile.traits.exchange_gpu)));
}

TEST_CASE("disaggregated: decoding is not disturbed, and the slowest stage decides") {
  Disaggregated d{engine(), engine(), 1, 1, 1, 64};
  const Workload load{4000, 500, 0};
  const Estimate e = estimate_disaggregated(d, load);
  CHECK(e.tpot < estimate_aggregated(engine(), load, 64).tpot);
  CHECK(e.gpus == 2);
  CHECK(e.kv_per_prompt == Approx(4000.0 * 131072));
  d.prefill_workers = 4;  // already enough: nothing more to gain for these GPUs
  CHECK(estimate_disaggregated(d, load).tokens_per_gpu < e.tokens_per_gpu);
  d.prefill_workers = 1;
  d.prefill.system.link_bandwidth = d.decode.system.link_bandwidth = 1e8;  // 5 s for each prompt
  const Estimate slow = estimate_disaggregated(d, load);
  CHECK(slow.requests_per_second < 1e8 / e.kv_per_prompt);
  CHECK(slow.ttft > 5);
  CHECK(slow.link_utilised > 0.8);
}

TEST_CASE("disaggregated: a faster link never hurts") {
  Disaggregated d{engine(), engine(), 1, 1, 1, 64};
  double before = 0;
  for (int step = 0; step < 27; ++step) {
    const double rate = 1e8 * std::pow(1.3, step);
    d.prefill.system.link_bandwidth = d.decode.system.link_bandwidth = rate;
    const double now = estimate_disaggregated(d, {4000, 500, 0}).tokens_per_gpu;
    CHECK(now >= before);
    before = now;
  }
}
