// LoRA adapters: the model with one against the oracle with what it stands for merged into the weights, and
// what a bad adapter is told.
#include "model/adapter.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "tiny_model.hpp"

namespace baton {
namespace {

using nlohmann::json;
using test::group_of;
using test::Logits;
using test::Runner;
using test::some_tokens;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;

// An adapter of a TinyModel in a directory.
struct TinyAdapter {
  test::TempDirectory directory;
  json config = {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 6}, {"bias", "none"}};
  std::vector<test::TestTensor> tensors;
  std::map<std::string, std::vector<float>> down, up;  // by projection

  explicit TinyAdapter(unsigned seed = 1) : engine_(seed) {}

  // Random matrices for a projection of the model, as wide as its weight is.
  void add(TinyModel& model, const std::string& projection, std::int64_t rank,
           const std::string& dtype = "F32") {
    const std::vector<std::int64_t> shape = model.tensor(projection + ".weight").shape;
    matrix(down[projection], projection + ".lora_A", rank, shape[1], dtype);
    matrix(up[projection], projection + ".lora_B", shape[0], rank, dtype);
  }

  // What the model's weights are with it.
  void merge_into(std::map<std::string, std::vector<float>>& weights, bool rank_stabilised = false) const {
    for (const auto& [projection, a] : down) {
      std::vector<float>& weight = weights.at(projection + ".weight");
      const std::vector<float>& b = up.at(projection);
      const auto rank =
          static_cast<std::size_t>(std::sqrt(static_cast<double>(a.size()) * static_cast<double>(b.size()) /
                                             static_cast<double>(weight.size())));
      const std::size_t in = a.size() / rank;
      const double size = static_cast<double>(rank);
      const double scale = config["lora_alpha"].get<double>() / (rank_stabilised ? std::sqrt(size) : size);
      for (std::size_t o = 0; o < weight.size() / in; ++o)
        for (std::size_t i = 0; i < in; ++i) {
          double sum = 0;
          for (std::size_t k = 0; k < rank; ++k)
            sum += static_cast<double>(b[o * rank + k]) * static_cast<double>(a[k * in + i]);
          weight[o * in + i] += static_cast<float>(scale * sum);
        }
    }
  }

  AdapterSource source(const std::string& name = "tiny") const {
    directory.write("adapter_config.json", config.dump());
    directory.write("adapter_model.safetensors", test::safetensors_file(tensors));
    return {name, directory.path()};
  }

 private:
  void matrix(std::vector<float>& values, const std::string& name, std::int64_t rows, std::int64_t cols,
              const std::string& dtype) {
    values.resize(static_cast<std::size_t>(rows * cols));
    for (float& value : values) value = static_cast<float>(static_cast<int>(engine_() % 255) - 127) / 512;
    tensors.push_back(
        {"base_model.model." + name + ".weight", dtype, {rows, cols}, test::encode(values, dtype)});
  }

  std::mt19937 engine_;
};

Result<std::unique_ptr<Model>> load(const TinyModel& tiny, OpsGroup& group,
                                    const std::vector<AdapterSource>& adapters,
                                    Quantization quantization = Quantization::none) {
  return load_model(tiny.directory.path(), group, {.quantization = quantization, .adapters = adapters});
}

// With its first adapter the model computes what these weights do.
void check_first_adapter(Model& model, Ops& ops, const std::map<std::string, std::vector<float>>& merged) {
  const test::OracleDecoder oracle(model.config(), merged);
  Runner runner(model, ops, 4);
  runner.adapter = 0;
  const Tokens tokens = some_tokens(20);
  CHECK(worst_difference(runner.feed(tokens), oracle.logits(tokens)) < 2e-4);
}

std::string layer(int index) { return "model.layers." + std::to_string(index) + "."; }

}  // namespace

TEST_CASE("a model with an adapter computes as if it were merged into the weights") {
  const std::int32_t width = GENERATE(1, 2);
  const bool rank_stabilised = GENERATE(false, true);
  CAPTURE(width, rank_stabilised);
  TinyModel tiny(R"({"attention_bias": true})");
  TinyAdapter one(1), two(2);
  for (int i = 0; i < 3; ++i) {
    one.add(tiny, layer(i) + "self_attn.q_proj", 4);
    one.add(tiny, layer(i) + "self_attn.v_proj", 3, "BF16");
    two.add(tiny, layer(i) + "mlp.up_proj", 5, "F16");
  }
  one.add(tiny, layer(1) + "self_attn.k_proj", 2);
  one.add(tiny, layer(0) + "self_attn.o_proj", 4);
  one.add(tiny, layer(2) + "mlp.gate_proj", 2);
  one.add(tiny, layer(2) + "mlp.down_proj", 6);
  one.config["use_rslora"] = two.config["use_rslora"] = rank_stabilised;
  const auto group = group_of(width);
  auto model = load(tiny, *group, {one.source("one"), two.source("two")});
  if (!model) FAIL(model.error().message);
  REQUIRE((*model)->adapters().size() == 2);
  CHECK((*model)->adapters()[0].name == "one");
  const auto plain = load(tiny, *group, {});
  REQUIRE(plain);
  CHECK((*plain)->fingerprint() == (*model)->fingerprint());
  const Tokens tokens = some_tokens(30);
  const auto feed = [&](Model& with, std::int32_t adapter, std::ptrdiff_t first_part) {
    Runner runner(with, group->rank(0), 4);
    runner.adapter = adapter;
    if (first_part > 0) runner.feed({tokens.begin(), tokens.begin() + first_part}, 0);
    return runner.feed({tokens.begin() + first_part, tokens.end()}, 2);
  };
  CHECK(feed(**model, -1, 0) == feed(**plain, -1, 0));
  const TinyAdapter* const adapters[] = {&one, &two};
  for (std::int32_t i = 0; i < 2; ++i) {
    CAPTURE(i);
    auto merged = tiny.weights;
    adapters[i]->merge_into(merged, rank_stabilised);
    const test::OracleDecoder oracle((*model)->config(), merged);
    const Logits logits = feed(**model, i, 0);
    const Logits last(logits.end() - 61, logits.end());
    CHECK(worst_difference(last, oracle.logits(tokens)) < 2e-4);
    CHECK(logits == feed(**model, i, 17));  // chunks change nothing
    CHECK(logits != feed(**plain, -1, 0));
  }
}

TEST_CASE("an adapter of fused projections goes where their outputs go") {
  const std::int32_t width = GENERATE(1, 2);
  CAPTURE(width);
  TinyModel tiny(R"({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.5})");
  const std::string attention = layer(1) + "self_attn.", mlp = layer(2) + "mlp.";
  const std::map<std::string, std::vector<std::string>> parts{
      {attention + "qkv_proj", {attention + "q_proj", attention + "k_proj", attention + "v_proj"}},
      {mlp + "gate_up_proj", {mlp + "gate_proj", mlp + "up_proj"}}};
  auto merged = tiny.weights;
  TinyAdapter adapter;
  for (const auto& [whole, names] : parts) {
    adapter.add(tiny, whole, 4);
    std::vector<float>& values = merged[whole + ".weight"];
    for (const std::string& name : names) {
      const std::vector<float>& part = tiny.weights.at(name + ".weight");
      values.insert(values.end(), part.begin(), part.end());
    }
  }
  adapter.merge_into(merged);
  for (const auto& [whole, names] : parts) {
    const float* next = merged[whole + ".weight"].data();
    for (const std::string& name : names) {
      std::vector<float>& part = merged[name + ".weight"];
      std::copy_n(next, part.size(), part.begin());
      next += part.size();
    }
  }
  const auto group = group_of(width);
  auto model = load(tiny, *group, {adapter.source()});
  if (!model) FAIL(model.error().message);
  check_first_adapter(**model, group->rank(0), merged);
}

TEST_CASE("rows of several adapters share a step") {
  TinyModel tiny;
  TinyAdapter one(1), two(2);
  one.add(tiny, layer(0) + "self_attn.q_proj", 4);
  two.add(tiny, layer(2) + "mlp.down_proj", 4);
  const auto lone = group_of(1);
  auto model = load(tiny, *lone, {one.source(), two.source()});
  REQUIRE(model);
  Ops& ops = lone->rank(0);
  const KvSpec spec = (*model)->kv_spec(16);
  std::vector<std::byte> memory(spec.layout.block_bytes() * 3);
  const KvView kv{.base = memory.data(), .layout = spec.layout, .blocks = 3};
  const Tokens tokens = some_tokens(9);
  Batch batch;
  for (std::int32_t s = 0; s < 3; ++s) {
    batch.sequences.push_back({s * 9, 9, 0, s});
    batch.block_table.push_back(s);
    batch.logit_rows.push_back(s * 9 + 8);
    batch.logit_adapters.push_back(s - 1);
    for (std::int32_t p = 0; p < 9; ++p) {
      batch.tokens.push_back(tokens[static_cast<std::size_t>(p)]);
      batch.positions.push_back(p);
      batch.adapters.push_back(s - 1);
    }
  }
  const auto together = ops.to_host((*model)->forward(batch, kv, ops));
  const Logits all(together.begin(), together.end());
  for (std::int32_t s = 0; s < 3; ++s) {
    Runner runner(**model, ops, 16);
    runner.adapter = s - 1;
    CHECK(runner.feed(tokens) == Logits(all.begin() + s * 61, all.begin() + (s + 1) * 61));
  }
}

TEST_CASE("adapters add to weights that are quantised, and to those beside experts") {
  TinyModel tiny(
      R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})");
  TinyAdapter adapter;
  adapter.add(tiny, layer(1) + "self_attn.o_proj", 4);
  const auto lone = group_of(1);
  auto model = load(tiny, *lone, {adapter.source()}, Quantization::fp8);
  if (!model) FAIL(model.error().message);
  auto merged = tiny.weights;
  for (auto& [name, values] : merged)
    if (name.ends_with("_proj.weight") || name.find(".experts.") != std::string::npos)
      test::round_weights(values, tiny.inputs.at(name));
  adapter.merge_into(merged);
  check_first_adapter(**model, lone->rank(0), merged);
}

TEST_CASE("an adapter's fingerprint is that of what it adds") {
  TinyModel tiny;
  const auto fingerprint = [&](unsigned seed, const char* patch) {
    TinyAdapter adapter(seed);
    adapter.add(tiny, layer(1) + "self_attn.q_proj", 4);
    adapter.config.merge_patch(json::parse(patch));
    const auto opened = Adapter::open(adapter.source(patch));
    REQUIRE(opened);
    return opened->fingerprint();
  };
  const Hash128 usual = fingerprint(1, "{}");
  CHECK(fingerprint(1, R"({"base_model_name_or_path": "elsewhere"})") == usual);
  CHECK(fingerprint(2, "{}") != usual);
  CHECK(fingerprint(1, R"({"lora_alpha": 7})") != usual);
  CHECK(fingerprint(1, R"({"use_rslora": true})") != usual);
}

TEST_CASE("what an adapter may not be is refused by name") {
  TinyModel tiny;
  TinyAdapter adapter;
  const std::string projection = layer(1) + "self_attn.q_proj";
  adapter.add(tiny, projection, 4);
  const auto lone = group_of(1);
  const auto refused = [&] {
    const auto model = load(tiny, *lone, {adapter.source("mine")});
    if (model) return std::string("loaded");
    CHECK(model.error().message.starts_with("adapter 'mine': "));
    return model.error().field;
  };
  CHECK(refused() == "loaded");
  const json good = adapter.config;
  for (const auto& [key, patch] : std::map<std::string, const char*>{
           {"peft_type", R"({"peft_type": "IA3"})"},
           {"lora_alpha", R"({"lora_alpha": "much"})"},
           {"use_dora", R"({"use_dora": true})"},
           {"fan_in_fan_out", R"({"fan_in_fan_out": true})"},
           {"bias", R"({"bias": "lora_only"})"},
           {"modules_to_save", R"({"modules_to_save": ["lm_head"]})"},
           {"alpha_pattern", R"({"alpha_pattern": {"q_proj": 3}})"},
           {"init_lora_weights", R"({"init_lora_weights": "pissa_niter_4"})"}}) {
    adapter.config = good;
    adapter.config.merge_patch(json::parse(patch));
    CAPTURE(patch);
    CHECK(refused() == key);
  }
  adapter.config = good;
  adapter.config.merge_patch(json::parse(
      R"({"modules_to_save": null, "alpha_pattern": {}, "init_lora_weights": true, "use_dora": false})"));
  CHECK(refused() == "loaded");
  adapter.config.erase("lora_alpha");
  CHECK(refused() == "lora_alpha");
  adapter.config = good;

  const std::vector<test::TestTensor> tensors = adapter.tensors;
  const std::string down = "base_model.model." + projection + ".lora_A.weight";
  const std::string up = "base_model.model." + projection + ".lora_B.weight";
  adapter.tensors.pop_back();
  CHECK(refused() == up);
  adapter.tensors = {tensors[1]};
  CHECK(refused() == down);
  adapter.tensors = tensors;
  adapter.tensors[0].shape = {6, 16};
  CHECK(refused() == down);
  adapter.tensors = tensors;
  adapter.tensors[0] = {down, "I8", {4, 24}, std::string(96, '\1')};
  CHECK(refused() == down);
  for (const std::string name : {"model.embed_tokens", "lm_head", "model.layers.3.self_attn.q_proj"}) {
    adapter.tensors = tensors;
    for (test::TestTensor& tensor : adapter.tensors)
      tensor.name.replace(tensor.name.find(projection), projection.size(), name);
    CHECK(refused() == "base_model.model." + name + ".lora_A.weight");
  }
  for (const std::string name : {"base_model.model.lora_A.weight", "lora_A.weight", "base_model.model."}) {
    adapter.tensors = tensors;
    adapter.tensors[1].name = name;
    CHECK(refused() == (name.starts_with("base") || name == "lora_A.weight" ? up : name));
    adapter.tensors.push_back(tensors[1]);
    CHECK(refused() == name);
  }
  adapter.tensors.clear();
  CHECK(refused().empty());

  // What it adds to the part of a model that sees is for images, of which there are none.
  adapter.tensors = tensors;
  for (const char* seeing : {"vision_tower.", "model.vision_tower.", "multi_modal_projector."}) {
    adapter.tensors.push_back(tensors[0]);
    adapter.tensors.back().name = "base_model.model." + std::string(seeing) + "a.lora_A.weight";
  }
  CHECK(refused() == "loaded");
}

TEST_CASE("files of an adapter that are not there, or no JSON, are named") {
  TinyModel tiny;
  const auto lone = group_of(1);
  const auto message = [&](const std::filesystem::path& directory) {
    const auto model = load(tiny, *lone, {{"gone", directory}});
    REQUIRE_FALSE(model);
    return model.error().message;
  };
  CHECK(message("/nonexistent").find("adapter 'gone': cannot open /nonexistent/adapter_config.json") == 0);
  const test::TempDirectory empty;
  empty.write("adapter_config.json", "{");
  CHECK(message(empty.path()).find("adapter_config.json: not valid JSON") != std::string::npos);
  empty.write("adapter_config.json", R"({"lora_alpha": 1})");
  CHECK(message(empty.path()).find("adapter_model.safetensors") != std::string::npos);
}

}  // namespace baton
