// The PerfModel: the roofline's arithmetic, its data files, and how a profile learns.
#include "baton/schedule/perf_model.hpp"

#include <fstream>
#include <limits>
#include <sstream>

#include "baton/schedule/scheduler.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.hidden = 8, c.layers = 2, c.query_heads = 4, c.kv_heads = 2, c.head_dim = 2, c.ffn = 16, c.vocab = 100;
  c.weights = DType::bf16;
  return c;
}

std::string spec_text(const std::string& changed = "", const std::string& value = "") {
  std::string text =
      R"({"name": "x", "provenance": "assumed", "matmul_flops": 1e12, "memory_bandwidth": 1e11, "memory_bytes": 1e10,)"
      R"( "link_bandwidth": 1e9, "link_latency": 0.001, "step_overhead": 0.0001,)"
      R"( "efficiency": {"matmul": 0.5, "attention": 0.5, "memory": 0.5, "link": 1}})";
  if (!changed.empty()) {
    const std::size_t at = text.find("\"" + changed + "\"");
    const std::size_t colon = text.find(':', at), end = text.find_first_of(",}", colon);
    text.replace(colon + 1, end - colon - 1, value);
  }
  return text;
}

}  // namespace

TEST_CASE("a model's costs follow from its sizes") {
  const ModelCost cost = model_cost(tiny());
  const double layer = 8 * (8 + 2 * 4) + 8 * 8 + 3 * 8 * 16;
  CHECK(cost.streamed_bytes == Approx((2 * layer + 800) * 2));
  CHECK(cost.weight_bytes == Approx((2 * layer + 1600) * 2));  // embeddings are kept, but not read as a whole
  CHECK(cost.flops_per_token == Approx(2 * 2 * layer));
  CHECK(cost.flops_per_logits == Approx(1600));
  CHECK(cost.flops_per_pair == Approx(4 * 2 * 8));
  CHECK(cost.kv_bytes_per_token == Approx(2 * 2 * 4 * 2));
  ModelConfig tied = tiny();
  tied.tied_embeddings = true;
  CHECK(model_cost(tied).weight_bytes == Approx(cost.streamed_bytes));
}

TEST_CASE("a step is bound by what takes longest") {
  PerfProfile p;
  p.step = 1, p.weights = 10, p.token = 1, p.logits = 0.5, p.pair = 0.01, p.kv_token = 0.02;
  CHECK(p.step_seconds({4, 4, 0, 0}) == Approx(1 + 10));          // streaming the weights
  CHECK(p.step_seconds({20, 2, 0, 0}) == Approx(1 + 21));         // multiplying
  CHECK(p.step_seconds({4, 4, 100, 100}) == Approx(1 + 10 + 2));  // streaming K and V
  CHECK(p.step_seconds({4, 4, 10000, 100}) == Approx(1 + 10 + 100));
  CHECK(p.decode_seconds(3, 50) == Approx(1 + 10 + 1));
  CHECK(p.prefill_seconds(0, 100, 16) == 0);
  // Two chunks of 16 rows: 32 rows, 16 of context under the first chunk's end, 32 under the second's.
  PerfProfile q;
  q.step = 1, q.token = 1, q.kv_token = 0.5;
  CHECK(q.prefill_seconds(32, 0, 16) == Approx(2 + 32 + 0.5 * 48));
  CHECK(q.prefill_seconds(32, 100, 16) == Approx(2 + 32 + 0.5 * 248));
  PerfProfile link;
  link.link_token = 2, link.link_latency = 5;
  CHECK(link.transfer_seconds(0) == 0);
  CHECK(link.transfer_seconds(3) == Approx(11));
}

TEST_CASE("a plan's shape counts rows, samples, pairs and context") {
  StepPlan plan;
  plan.rows = {{nullptr, 10, 1, true}, {nullptr, 4, 3, false}};
  const StepShape shape = step_shape(plan);
  CHECK(shape.tokens == 4);
  CHECK(shape.sampled == 1);
  CHECK(shape.pairs == (10 + 1) + (5 + 6 + 7));
  CHECK(shape.kv_tokens == 11 + 7);
}

TEST_CASE("system data: the shipped files parse, and what is wrong is named") {
  for (const char* name : {"h200_sxm", "cpu"}) {
    const auto file = std::string(std::getenv("BATON_SOURCE_DIR")) + "/configs/systems/" + name + ".json";
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    const auto spec = parse_system_spec(text.str(), file);
    REQUIRE(spec);
    CHECK(spec->name == name);
    CHECK_FALSE(spec->provenance.empty());
    CHECK(make_perf_profile(model_cost(tiny()), *spec).sane());
  }
  REQUIRE(parse_system_spec(spec_text(), "x.json"));
  const auto field = [](const std::string& text) {
    const auto spec = parse_system_spec(text, "x.json");
    REQUIRE_FALSE(spec);
    CHECK(spec.error().message.starts_with("x.json: "));
    return spec.error().field;
  };
  CHECK(field("[]") == "system");
  CHECK(field(spec_text("name", "3")) == "name");
  CHECK(field(spec_text("memory_bandwidth", "0")) == "memory_bandwidth");
  CHECK(field(spec_text("step_overhead", "-1")) == "step_overhead");
  CHECK(field(spec_text("attention", "\"x\"")) == "attention");
  std::string without = spec_text();
  without.replace(without.find("efficiency"), 10, "efficiencz");
  CHECK(field(without) == "matmul");
}

TEST_CASE("KV memory is what the weights leave") {
  const auto spec = parse_system_spec(spec_text(), "x.json");
  ModelCost cost;
  cost.weight_bytes = 4e9, cost.kv_bytes_per_token = 1e6;
  CHECK(kv_tokens_that_fit(cost, *spec, 0.9) == Approx(5000));
  cost.weight_bytes = 1e11;
  CHECK(kv_tokens_that_fit(cost, *spec, 0.9) == 0);
}

TEST_CASE("measured steps correct the profile, prefill and decode apart") {
  PerfProfile first;
  first.step = 1e-3, first.weights = 1e-2, first.token = 1e-4, first.kv_token = 1e-6;
  PerfCalibration calibration(first);
  CHECK_FALSE(calibration.profile().measured);
  const StepShape prefill{512, 1, 0, 512}, decode{8, 8, 800, 800};
  calibration.measured(decode, 3 * first.step_seconds(decode));
  CHECK(calibration.profile().decode_seconds(8, 800) ==
        Approx(3 * first.decode_seconds(8, 800)).epsilon(0.01));
  CHECK(calibration.profile().token == Approx(first.token));
  for (int i = 0; i < 200; ++i) calibration.measured(prefill, 0.5 * first.step_seconds(prefill));
  CHECK(calibration.profile().token == Approx(0.5 * first.token).epsilon(0.01));
  CHECK(calibration.profile().measured);
  calibration.measured(decode, 0);  // a clock that stood still teaches nothing
  calibration.measured(decode, 1e9);
  CHECK(calibration.profile().sane());
  CHECK(calibration.profile().weights <= 50 * first.weights);
}

TEST_CASE("a peer's profile is checked before it is used") {
  PerfProfile p;
  CHECK(p.sane());
  for (const double bad :
       {-1.0, 1e9, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    PerfProfile broken;
    broken.pair = bad;
    CHECK_FALSE(broken.sane());
  }
}

TEST_CASE("a link is as fast as its best burst, pauses do not count, and an old rate fades") {
  LinkMeter meter;
  double now = 100;
  const auto burst = [&](double rate, double seconds) {
    for (const double end = now + seconds; now < end; now += 0.001) meter.arrived(rate * 0.001, now);
  };
  burst(1e6, 0.5);
  CHECK(meter.rate() == 0);  // too little
  burst(1e9, 0.5);
  CHECK(meter.rate() > 0.8e9);
  CHECK(meter.rate() < 1.2e9);
  for (int i = 0; i < 20; ++i) {  // a sender that waits for its prefill
    now += 0.1;
    burst(1e9, 0.03);
  }
  CHECK(meter.rate() > 0.8e9);
  for (int i = 0; i < 300; ++i) {
    now += 1;
    burst(1e8, 0.05);
  }
  CHECK(meter.rate() < 1.5e8);
  CHECK(meter.rate() > 0.8e8);
}
