// The simulated cluster: nothing is lost, equal inputs give equal reports, and the figures follow the
// profile.
#include "baton/sim/simulation.hpp"

#include <random>

#include "support/catch.hpp"

using namespace baton;

namespace {

PerfProfile round_profile() {  // figures that a test can add up
  PerfProfile p;
  p.step = 1e-3;
  p.token = 1e-4;
  p.link_token = 1e-5;
  p.link_latency = 1e-3;
  return p;
}

SimOptions small(std::int32_t prefill, std::int32_t decode, std::int32_t mixed) {
  SimOptions options;
  options.prefill = prefill, options.decode = decode, options.mixed = mixed;
  options.profile = round_profile();
  options.blocks = 400;
  options.limits = {16, 256, 1 << 20, 0};
  options.vocab = 1000;
  return options;
}

TraceRequest request(double seconds, std::int32_t input, std::int32_t output, std::uint64_t first_chunk) {
  TraceRequest r;
  r.arrival = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  r.input_tokens = input;
  r.output_tokens = output;
  for (std::int32_t at = 0; at < input; at += kTraceChunk)
    r.content.push_back(first_chunk + static_cast<std::uint64_t>(at));
  return r;
}

std::vector<TraceRequest> random_trace(std::uint64_t seed, std::size_t count) {
  std::mt19937_64 random(seed);
  std::vector<TraceRequest> trace;
  double now = 0;
  for (std::size_t i = 0; i < count; ++i) {
    now += std::exponential_distribution<double>(8)(random);
    trace.push_back(request(now, 1 + static_cast<std::int32_t>(random() % 2000),
                            1 + static_cast<std::int32_t>(random() % 60), random() % 20 * 100000));
  }
  return trace;
}

SimReport run(const SimOptions& options, const std::vector<TraceRequest>& trace,
              std::string_view name = "kv") {
  const auto policy = make_policy(name);
  auto report = simulate(options, trace, *policy);
  REQUIRE(report);
  return *std::move(report);
}

}  // namespace

TEST_CASE("one request alone takes what its steps take") {
  const std::vector<TraceRequest> trace{request(0, 500, 3, 1)};
  SECTION("on one engine") {
    const SimReport report = run(small(0, 0, 1), trace);
    // Chunks of 256 and 244 rows, then two rows of decode.
    CHECK(report.requests[0].ttft() == Approx(2 * 1e-3 + 500 * 1e-4));
    CHECK(report.requests[0].latency() == Approx(4 * 1e-3 + 502 * 1e-4));
    CHECK(report.requests[0].output_tokens == 3);
    CHECK_FALSE(report.requests[0].disaggregated);
  }
  SECTION("on two") {
    const SimReport report = run(small(1, 1, 0), trace);
    CHECK(report.requests[0].ttft() == Approx(2 * 1e-3 + 500 * 1e-4));
    // The first chunk travels while the second is computed; the second and the latency come on top.
    CHECK(report.requests[0].latency() == Approx(4 * 1e-3 + 502 * 1e-4 + 244 * 1e-5 + 1e-3));
    CHECK(report.requests[0].disaggregated);
    CHECK(report.blocks_moved == 32);
    CHECK(report.transfers == 1);
    CHECK(report.engines[1].prefill_tokens == 0);  // the decode engine computed no prompt
  }
}

TEST_CASE("decode engines may be others: their steps, their room, the slower link") {
  SimOptions options = small(1, 1, 0);
  options.decode_kind = SimKind{round_profile(), 200};
  options.decode_kind->profile.step = 4e-3;
  options.decode_kind->profile.link_token = 3e-5;
  const SimReport report = run(options, {request(0, 500, 3, 1)});
  CHECK(report.requests[0].ttft() == Approx(2 * 1e-3 + 500 * 1e-4));
  // The second chunk travels at the receiver's rate.
  CHECK(report.requests[0].latency() ==
        Approx(2 * 1e-3 + 500 * 1e-4 + 244 * 3e-5 + 1e-3 + 2 * (4e-3 + 1e-4)));
  // More than its 200 blocks hold.
  CHECK(run(options, {request(0, 201 * 16, 3, 1)}).failed == 1);
  options.decode_kind->blocks = 0;
  const auto policy = make_policy("kv");
  CHECK(simulate(options, {}, *policy).error().field == "blocks");
}

TEST_CASE("what both engines hold neither is computed nor travels again") {
  const std::vector<TraceRequest> trace{request(0, 512, 2, 1), request(10, 520, 2, 1)};
  const SimReport report = run(small(1, 1, 0), trace);
  CHECK(report.requests[1].cached_tokens == 512);
  CHECK(report.blocks_moved == 32 + 1);
  CHECK(report.hit_rate() == Approx(512.0 / 1032));
}

TEST_CASE("every request ends, whatever the policy, the split and the room") {
  const std::uint64_t seed = GENERATE(1, 2, 3);
  const auto trace = random_trace(seed, 150);
  const std::string_view name = GENERATE("kv", "round_robin", "least_loaded", "random");
  const auto [prefill, decode, mixed] =
      GENERATE(std::tuple(0, 0, 2), std::tuple(1, 1, 0), std::tuple(2, 1, 1), std::tuple(0, 1, 0));
  const std::int32_t blocks = GENERATE(140, 400);  // the largest request needs 129
  CAPTURE(seed, name, prefill, decode, mixed, blocks);
  SimOptions options = small(prefill, decode, mixed);
  options.blocks = blocks;
  const SimReport report = run(options, trace, name);
  CHECK(report.failed == 0);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const SimRequest& r = report.requests[i];
    CHECK(r.ok());
    CHECK(r.output_tokens == trace[i].output_tokens);
    CHECK(r.first_token > r.arrival);
    CHECK(r.finish >= r.first_token);
    CHECK(r.cached_tokens < r.input_tokens);
  }
}

TEST_CASE("a burst spreads over the decode engines before any of it has reached them") {
  std::vector<TraceRequest> trace;
  for (std::uint64_t i = 0; i < 32; ++i) trace.push_back(request(0, 100, 50, i * 1000));
  SimOptions options = small(1, 4, 0);
  options.limits = {32, 4096, 1 << 20, 0};  // all prompts in one step
  const SimReport report = run(options, trace);
  for (const SimEngineReport& engine : report.engines)
    if (engine.role == Role::decode) CHECK(engine.busy > 0.15);  // a quarter each
}

TEST_CASE("equal inputs give equal reports") {
  const auto trace = random_trace(7, 200);
  const SimReport a = run(small(1, 2, 1), trace), b = run(small(1, 2, 1), trace);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    CHECK(a.requests[i].first_token == b.requests[i].first_token);
    CHECK(a.requests[i].finish == b.requests[i].finish);
  }
}

TEST_CASE("the policy kv brings equal prefixes together") {
  const auto trace = random_trace(11, 400);
  const SimReport kv = run(small(0, 0, 4), trace), blind = run(small(0, 0, 4), trace, "round_robin");
  CHECK(kv.hit_rate() > blind.hit_rate());
  CHECK(summarize(kv, {}).ttft.mean < summarize(blind, {}).ttft.mean);
}

TEST_CASE("options that cannot be simulated are refused") {
  const auto policy = make_policy("kv");
  const std::vector<TraceRequest> trace{request(0, 10, 2, 1)};
  CHECK(simulate(small(0, 0, 0), trace, *policy).error().field == "engines");
  CHECK(simulate(small(2, 0, 0), trace, *policy).error().field == "decode");
  SimOptions none = small(0, 0, 1);
  none.blocks = 0;
  CHECK(simulate(none, trace, *policy).error().field == "blocks");
}

TEST_CASE("a request too large for any engine fails, and the others go on") {
  const SimReport report = run(small(0, 0, 1), {request(0, 400 * 16 + 1, 2, 1), request(1, 100, 2, 5)});
  CHECK(report.failed == 1);
  CHECK_FALSE(report.requests[0].ok());
  CHECK(report.requests[1].ok());
}

TEST_CASE("quantiles are nearest ranks") {
  const Distribution d = distribution({5, 1, 4, 2, 3});
  CHECK(d.mean == Approx(3));
  CHECK(d.p50 == 3);
  CHECK(d.p90 == 5);
  CHECK(d.max == 5);
}
