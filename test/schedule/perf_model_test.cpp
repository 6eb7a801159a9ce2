// The PerfModel: the roofline's arithmetic, its data files, and how a profile learns.
#include "baton/schedule/perf_model.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "baton/schedule/scheduler.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

ModelShape tiny() {
  ModelShape m;
  m.hidden = 8, m.layers = m.attention_layers = m.dense_layers = 2, m.query_heads = 4, m.kv_heads = 2,
  m.head_dim = 2;
  m.ffn = 16, m.vocab = 100;
  return m;
}

ModelShape tiny_experts() {
  ModelShape m = tiny();
  m.dense_layers = 0, m.expert_layers = 2, m.experts = 8, m.experts_per_token = 2, m.expert_ffn = 4;
  return m;
}

// Rates that make sums easy: 1 FLOP/s, 1 byte/s, all of it reached, nothing fixed.
EngineSetup unit_engine(const ModelShape& model) {
  EngineSetup e;
  e.model = model;
  e.system.flops_bf16 = e.system.memory_bandwidth = e.system.link_bandwidth = e.system.peer_bandwidth = 1;
  e.profile.efficiency = {.memory = 1, .matmul = 1, .attention = 0.5, .layer = 0};
  e.profile.traits = {
      .sequence = 0, .grouped = 1, .exchange = 0, .exchange_gpu = 0, .exchange_rate = 1, .link = 1};
  return e;
}

std::string spec_text(const std::string& changed = "", const std::string& value = "") {
  std::string text =
      R"({"name": "x", "provenance": "assumed", "matmul_flops": {"bf16": 1e12}, "memory_bandwidth": 1e11, "memory_bytes": 1e10,)"
      R"( "link_bandwidth": 1e9, "link_latency": 0.001,)"
      R"( "baton": {"provenance": "guessed", "step": 0.0001, "matmul": 0.5, "attention": 0.5, "memory": 0.5, "link": 1}})";
  if (!changed.empty()) {
    const std::size_t at = text.find("\"" + changed + "\"");
    const std::size_t colon = text.find(':', at), end = text.find_first_of(",}", colon);
    text.replace(colon + 1, end - colon - 1, value);
  }
  return text;
}

}  // namespace

TEST_CASE("a model's costs follow from its sizes") {
  const double layer = 8 * (8 + 2 * 4) + 8 * 8 + 3 * 8 * 16;
  EngineSetup e = unit_engine(tiny());
  const PerfProfile p = make_perf_profile(e);
  CHECK(p.weights == Approx((2 * layer + 800) * 2));  // embeddings are kept, but not read as a whole
  CHECK(e.weight_bytes() == Approx((2 * layer + 1600) * 2));
  CHECK(p.token == Approx(2 * 2 * layer));
  CHECK(p.logits == Approx(1600));
  CHECK(p.pair == Approx(4 * 2 * 8 / 0.5));
  CHECK(p.kv_token == Approx(2 * 2 * 4 * 2));
  CHECK(p.experts == 0);
  e.model.tied = true;
  CHECK(e.weight_bytes() == Approx((2 * layer + 800) * 2));
}

TEST_CASE("experts are streamed as far as rows need them, and divided over all GPUs") {
  EngineSetup e = unit_engine(tiny_experts());
  const double expert = 3 * 8 * 4;
  PerfProfile p = make_perf_profile(e);
  CHECK(p.experts == Approx(2 * 8 * expert * 2));
  CHECK(p.expert_token == Approx(2 * 2 * 2 * expert));
  p.expert_token = 0;
  CHECK(p.step_cost({1, 0, 0, 0, 1}).experts == Approx(p.experts * 2 / 8));  // two of eight
  CHECK(p.step_cost({2, 0, 0, 0, 2}).experts == Approx(p.experts * (1 - 0.75 * 0.75)));
  CHECK(p.step_cost({1000, 0, 0, 0, 2}).experts == Approx(p.experts));
  e.split = {.tensor = 2, .data = 2};
  CHECK(make_perf_profile(e).experts == Approx(p.experts / 4));
  CHECK(make_perf_profile(e).kv_token == Approx(make_perf_profile(unit_engine(tiny())).kv_token / 4));
  CHECK(make_perf_profile(e).exchange_token > 0);
}

TEST_CASE("devices whose bandwidth to each other nobody told are not thought to have none") {
  EngineSetup e = unit_engine(tiny());
  e.split.tensor = 2;
  e.system.peer_bandwidth = 0;
  e.system.memory_bandwidth = 1e10;
  const PerfProfile guess = make_perf_profile(e);
  e.system.peer_bandwidth = 1e10;
  CHECK(guess.exchange_token > 0);
  CHECK(guess.exchange_token == Approx(make_perf_profile(e).exchange_token));
}

TEST_CASE("GPUs that share each layer: shares of weights, heads and products, two sums in each layer") {
  EngineSetup e = unit_engine(tiny());
  e.profile.traits.exchange = 3, e.profile.traits.exchange_gpu = 0.5;
  const PerfProfile alone = make_perf_profile(e);
  CHECK(alone.step == 0);
  CHECK(alone.exchange_token == 0);
  e.split.tensor = 2;
  PerfProfile p = make_perf_profile(e);
  CHECK(p.weights == Approx(alone.weights / 2));
  CHECK(p.token == Approx(alone.token / 2));
  CHECK(p.logits == Approx(alone.logits / 2));
  CHECK(p.pair == Approx(alone.pair / 2));
  CHECK(p.kv_token == Approx(alone.kv_token / 2));
  CHECK(p.link_token == Approx(alone.link_token / 2));
  // A ring of n sends 2 (n - 1) / n of 8 elements of two bytes; twice in each of two layers.
  CHECK(p.exchange_token == Approx(4 * 8 * 2 * 1.0));
  CHECK(p.step == Approx(4 * (3 + 2 * 0.5)));
  e.split.tensor = 4;  // of two KV heads: each is there twice
  p = make_perf_profile(e);
  CHECK(p.exchange_token == Approx(4 * 8 * 2 * 1.5));
  CHECK(p.step == Approx(4 * (3 + 4 * 0.5)));
  CHECK(p.kv_token == Approx(alone.kv_token / 2));
  e.system.peer_bandwidth = 10;
  CHECK(make_perf_profile(e).exchange_token == Approx(4 * 8 * 2 * 1.5 / 10));
}

TEST_CASE("Baton's GPUs that share layers: whole embeddings and routers, logits to one GPU, one link") {
  EngineSetup e = unit_engine(tiny());
  e.profile.traits.exchange = 3, e.profile.traits.exchange_gpu = 0.5;
  const PerfProfile alone = make_perf_profile(e);
  const double weights_alone = e.weight_bytes();
  e.profile.traits.one_process = true;
  CHECK(make_perf_profile(e).weights == alone.weights);  // of one GPU nothing is different
  CHECK(make_perf_profile(e).sequence == 0);
  CHECK(e.weight_bytes() == weights_alone);
  e.split.tensor = 2;
  const double layers = 2 * (8 * (8 + 2 * 4) + 8 * 8 + 3 * 8 * 16), table = 100 * 8;
  CHECK(e.weight_bytes() == Approx((layers / 2 + table + table / 2) * 2));
  PerfProfile p = make_perf_profile(e);
  CHECK(p.weights == Approx((layers / 2 + table / 2) * 2));  // embeddings are not read as a whole
  CHECK(p.sequence == Approx(100.0 / 2 * 4));                // the other's half of 100 logits
  CHECK(p.step == Approx((4 + 1) * (3 + 2 * 0.5)));
  CHECK(p.exchange_token == Approx(4 * 8 * 2));
  CHECK(p.link_token == alone.link_token);
  e.model.tied = true;
  CHECK(e.weight_bytes() == Approx((layers / 2 + table + table / 2) * 2));  // a part is there twice

  e.model = tiny_experts();
  const double attention = 2 * (8 * (8 + 2 * 4) + 8 * 8), routers = 2 * 8 * 8, experts = 2 * 8 * 3 * 8 * 4;
  p = make_perf_profile(e);
  CHECK(p.token == Approx(2 * (attention / 2 + routers)));
  CHECK(p.experts == Approx(experts * 2 / 2));
  CHECK(e.weight_bytes() == Approx((attention / 2 + routers + experts / 2 + table + table / 2) * 2));
  CHECK(parse_system_spec(spec_text(), "x.json")->baton->traits.one_process);
}

TEST_CASE("quantised weights: fewer bytes, the hardware's rate for them, or bf16's where it has none") {
  EngineSetup e = unit_engine(tiny());
  const PerfProfile wide = make_perf_profile(e);
  e.weights = Precision::fp8;
  CHECK(make_perf_profile(e).token == Approx(wide.token));
  e.system.flops_fp8 = 2;
  CHECK(make_perf_profile(e).token == Approx(wide.token / 2));
  CHECK(make_perf_profile(e).weights < 0.6 * wide.weights + 800);
  e.kv = Precision::fp8;
  CHECK(make_perf_profile(e).kv_token == Approx(wide.kv_token / 2));
}

TEST_CASE("sliding windows and sparse attention bound what a sequence reads") {
  ModelShape m = tiny();
  m.window = 10, m.window_layers = 1;
  PerfProfile p = make_perf_profile(unit_engine(m));
  p.pair = 0;
  const double each = p.kv_token;
  CHECK(p.step_cost({2, 2, 16, 16, 2}).attention == Approx(each * 16));  // 8 tokens each: inside
  CHECK(p.step_cost({2, 2, 200, 200, 2}).attention == Approx(each * 2 * (50 + 5)));
  // What stays of such a layer is the window, and so is what is sent of it.
  const EngineSetup e = unit_engine(m);
  const double layer = 2 * 2 * 2 * 2;  // bytes of a token
  CHECK(e.kv_bytes_per_token() == layer);
  CHECK(e.state_bytes(100) == 10 * layer);
  CHECK(e.state_bytes(4) == 4 * layer);
  CHECK(e.kv_transfer_bytes() == 2 * layer);
  CHECK(p.window_share == 0.5);
  CHECK(p.tokens_sent(0, 8, 8) == 8);
  CHECK(p.tokens_sent(0, 50, 50) == 50 - 20);
  CHECK(p.tokens_sent(0, 30, 50) == 15);  // none of them is in the window
  CHECK(p.tokens_sent(30, 50, 50) == 20 - 5);
  CHECK(p.tokens_sent(45, 50, 50) == 5);
  CHECK(p.tokens_sent(60, 50, 50) == 0);

  p.window_share = 0, p.sparse = 30;
  CHECK(p.step_cost({2, 2, 200, 200, 2}).attention == Approx(each * 60));
}

TEST_CASE("a step is bound by what takes longest, softly where both are near") {
  PerfProfile p;
  p.step = 1, p.weights = 10, p.token = 1, p.logits = 0.5, p.pair = 0.01, p.kv_token = 0.02;
  const auto near = [](double value) { return Approx(value).epsilon(0.03); };
  CHECK(p.step_seconds({1, 1, 0, 0}) == near(1 + 10));         // streaming the weights
  CHECK(p.step_seconds({60, 2, 0, 0}) == near(1 + 61));        // multiplying
  CHECK(p.step_seconds({1, 1, 10, 100}) == near(1 + 10 + 2));  // streaming K and V
  CHECK(p.step_seconds({1, 1, 10000, 100}) == near(1 + 10 + 100));
  CHECK(p.step_seconds({9, 2, 0, 0}) == Approx(1 + 11.9));  // equal
  CHECK(p.decode_seconds(1, 50) == near(1 + 10 + 1));
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
  CHECK(shape.sequences == 2);
}

TEST_CASE("system data: the shipped files parse, and what is wrong is named") {
  const std::filesystem::path folder = std::string(std::getenv("BATON_SOURCE_DIR")) + "/configs/systems";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    std::stringstream text;
    text << in.rdbuf();
    const auto spec = parse_system_spec(text.str(), entry.path());
    INFO(entry.path());
    REQUIRE(spec);
    CHECK(spec->name == entry.path().stem().string());
    REQUIRE(spec->baton);
    EngineSetup e = unit_engine(tiny());
    e.system = *spec;
    e.profile = *spec->baton;
    CHECK(make_perf_profile(e).sane());
    ++count;
  }
  CHECK(count >= 12);
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
  CHECK(field(spec_text("step", "-1")) == "baton.step");
  CHECK(field(spec_text("attention", "\"x\"")) == "baton.attention");
  CHECK(field(spec_text("bf16", "0")) == "matmul_flops.bf16");
}

TEST_CASE("engine profiles: the entry for a system and precision, or the backend's default, and it says so") {
  const std::string text =
      R"({"backend": "vllm", "version": "1", "provenance": "fitted", "traits": {"grouped": 0.25, "quantized_kv": "fp8"},)"
      R"( "default": {"memory": 0.5, "matmul": 0.4, "attention": 0.3, "queue": 0.7},)"
      R"( "profiles": {"h200_sxm/fp8": {"memory": 0.9, "matmul": 0.8, "attention": 0.7}}})";
  const auto known = parse_engine_profile(text, "v.json", "h200_sxm", Precision::fp8);
  REQUIRE(known);
  CHECK(known->efficiency.memory == 0.9);
  CHECK(known->traits.grouped == 0.25);
  CHECK(known->traits.quantized_kv == Precision::fp8);
  CHECK(known->provenance == "h200_sxm/fp8 fitted");
  const auto other = parse_engine_profile(text, "v.json", "h200_sxm", Precision::bf16);
  REQUIRE(other);
  CHECK(other->efficiency.memory == 0.5);
  CHECK(other->efficiency.queue == 0.7);
  CHECK(other->provenance.find("no rows for h200_sxm/bf16") == 0);
  CHECK_FALSE(parse_engine_profile("{}", "v.json", "x", Precision::bf16));
  CHECK_FALSE(parse_engine_profile(R"({"backend": "b", "version": "1", "provenance": "p", "default": {}})",
                                   "v.json", "x", Precision::bf16));
}

TEST_CASE("KV memory is what the weights leave") {
  EngineSetup e = unit_engine(tiny());
  e.system.memory_bytes = 1e6;
  CHECK(kv_room(e, 0.9, 16).blocks == Approx((9e5 - e.weight_bytes()) / e.kv_bytes_per_token() / 16));
  CHECK(kv_room(e, 0.9, 16).groups == KvGroups{});
  ModelShape windowed = tiny();  // a block holds one of the two layers
  windowed.window = 10, windowed.window_layers = 1;
  EngineSetup w = unit_engine(windowed);
  w.system.memory_bytes = 1e6;
  CHECK(kv_room(w, 0.9, 16).blocks == Approx(2 * kv_room(e, 0.9, 16).blocks));
  CHECK(kv_room(w, 0.9, 16).groups == KvGroups{1, 1, 10});
  ModelShape linear = tiny();  // nothing is cached by token
  linear.attention_layers = 0;
  EngineSetup l = unit_engine(linear);
  l.system.memory_bytes = 1e6;
  CHECK(kv_room(l, 0.9, 16).blocks == 0);
  CHECK(kv_room(l, 0.9, 16).groups == KvGroups{});
  e.system.memory_bytes = e.weight_bytes();
  CHECK(kv_room(e, 0.9, 16).blocks == 0);
}

TEST_CASE("measured steps correct the profile, prefill and decode apart") {
  PerfProfile first;
  first.step = 1e-3, first.weights = 1e-2, first.token = 1e-4, first.kv_token = 1e-6;
  PerfCalibration calibration(first);
  CHECK_FALSE(calibration.profile().measured);
  const StepShape prefill{512, 1, 0, 512, 1}, decode{8, 8, 800, 800, 8};
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
