// Synthetic checkpoints: what is written loads, is the same on every run, and its tokenizer is consistent.
#include "baton/model/synth.hpp"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "baton/base/hash.hpp"
#include "baton/model/model.hpp"
#include "checkpoint_writer.hpp"
#include "model/checkpoint.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using nlohmann::json;

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

SynthOptions tiny(const std::filesystem::path& directory) {
  SynthOptions options;
  options.directory = directory;
  options.hidden = 64;
  options.layers = 2;
  options.query_heads = 4;
  options.kv_heads = 2;
  options.head_dim = 16;
  options.ffn = 96;
  options.vocab = 1000;
  options.max_positions = 64;
  options.seed = 9;
  return options;
}

}  // namespace

TEST_CASE("a synthetic model loads and computes sane logits") {
  const test::TempDirectory directory;
  SynthOptions options = tiny(directory.path() / "a" / "b");
  options.dtype = GENERATE(DType::f32, DType::f16, DType::bf16);
  options.tied = options.dtype == DType::f16;
  options.experts = options.dtype == DType::bf16 ? 4 : 0;
  std::uint64_t done = 0;
  const auto written = write_synthetic_model(options, [&](std::uint64_t now, std::uint64_t total) {
    CHECK(now > done);
    CHECK(now <= total);
    done = now;
    CHECK(total == synth_parameters(options) * size_of(options.dtype));
  });
  if (!written) FAIL(written.error().message);
  CHECK(done == synth_parameters(options) * size_of(options.dtype));

  auto ops = make_ops({{}, 2, "auto"});
  REQUIRE(ops);
  auto model = load_model(options.directory, **ops);
  if (!model) FAIL(model.error().message);
  const ModelConfig& config = (*model)->config();
  CHECK(config.vocab == 1000);
  CHECK(config.head_dim == 16);
  CHECK(config.max_positions == 64);
  CHECK(config.tied_embeddings == options.tied);
  CHECK(config.weights == options.dtype);
  CHECK(config.bos_token_id == 997);
  CHECK(config.generation.eos_token_ids == std::vector<std::int32_t>{999, 997});

  const KvSpec spec = (*model)->kv_spec(16);
  std::vector<std::byte> memory(spec.layout.block_bytes());
  const KvView kv{memory.data(), spec.layout, 1};
  Batch batch;
  batch.tokens = {1, 500, 7};
  batch.positions = {0, 1, 2};
  batch.sequences = {{0, 3, 0, 0}};
  batch.block_table = {0};
  batch.logit_rows = {2};
  const auto logits = (*ops)->to_host((*model)->forward(batch, kv, **ops));
  REQUIRE(logits.size() == 1000);
  double squares = 0;
  for (const float x : logits) squares += x * x;
  CHECK(squares / 1000 > 0.5);
  CHECK(squares / 1000 < 2.0);
}

TEST_CASE("weights are normal around zero with the deviation of their fan-in") {
  const test::TempDirectory directory;
  SynthOptions options = tiny(directory.path());
  options.dtype = DType::f32;
  REQUIRE(write_synthetic_model(options));
  const auto checkpoint = Checkpoint::open(directory.path());
  REQUIRE(checkpoint);
  const auto weight = checkpoint->matrix("model.embed_tokens.weight", 1000, 64);
  REQUIRE(weight);
  std::vector<float> values(64'000);
  std::memcpy(values.data(), weight->data, values.size() * 4);
  double sum = 0;
  double squares = 0;
  for (const float x : values) {
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / 64'000) < 0.002);  // four standard errors of 0.125 / 253
  CHECK(std::sqrt(squares / 64'000) == Approx(0.125).epsilon(0.02));
  const auto norm = checkpoint->vector("model.norm.weight", 64);
  REQUIRE(norm);
  std::memcpy(values.data(), norm->data, 256);
  CHECK(std::all_of(values.begin(), values.begin() + 64, [](float x) { return x == 1.0F; }));
}

TEST_CASE("half-precision weights are the float32 ones, rounded to nearest") {
  const test::TempDirectory directory;
  const auto values = [&](DType dtype) {
    SynthOptions options = tiny(directory.path() / std::to_string(static_cast<int>(dtype)));
    options.dtype = dtype;
    REQUIRE(write_synthetic_model(options));
    auto checkpoint = Checkpoint::open(options.directory);
    REQUIRE(checkpoint);
    const auto view = checkpoint->matrix("lm_head.weight", 1000, 64);
    REQUIRE(view);
    std::string bytes(64'000 * size_of(dtype), '\0');
    std::memcpy(bytes.data(), view->data, bytes.size());
    return bytes;
  };
  const std::string f32 = values(DType::f32);
  const std::string bf16 = values(DType::bf16);
  const std::string f16 = values(DType::f16);
  double worst_bf16 = 0;
  double worst_f16 = 0;
  for (std::size_t i = 0; i < 64'000; ++i) {
    float exact = 0;
    std::uint16_t half = 0;
    std::memcpy(&exact, f32.data() + i * 4, 4);
    std::memcpy(&half, bf16.data() + i * 2, 2);
    const std::uint32_t wide = std::uint32_t{half} << 16;
    float rounded = 0;
    std::memcpy(&rounded, &wide, 4);
    worst_bf16 =
        std::max(worst_bf16, std::abs(double{rounded} - exact) / std::max(1e-30, std::abs(double{exact})));
    std::memcpy(&half, f16.data() + i * 2, 2);
    const int exponent = half >> 10 & 31;
    const double magnitude =
        exponent == 0 ? std::ldexp(half & 1023, -24) : std::ldexp(1024 + (half & 1023), exponent - 25);
    worst_f16 = std::max(worst_f16, std::abs((half & 0x8000 ? -magnitude : magnitude) - exact) /
                                        std::max(0x1p-14, std::abs(double{exact})));
  }
  CHECK(worst_bf16 <= 0x1p-8);
  CHECK(worst_bf16 > 0x1p-9);
  CHECK(worst_f16 <= 0x1p-11);
  CHECK(worst_f16 > 0x1p-12);
}

TEST_CASE("equal options give equal bytes, in any number of shards") {
  const test::TempDirectory directory;
  SynthOptions options = tiny(directory.path() / "one");
  REQUIRE(write_synthetic_model(options));
  options.directory = directory.path() / "two";
  REQUIRE(write_synthetic_model(options));
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"})
    CHECK(read(directory.path() / "one" / name) == read(directory.path() / "two" / name));
  options.directory = directory.path() / "shards";
  options.shard_bytes = 60'000;
  REQUIRE(write_synthetic_model(options));
  CHECK_FALSE(std::filesystem::exists(options.directory / "model.safetensors"));
  options.directory = directory.path() / "seed";
  options.seed = 10;
  REQUIRE(write_synthetic_model(options));

  auto ops = make_ops({{}, 1, "auto"});
  REQUIRE(ops);
  const auto fingerprint = [&](const char* name) {
    auto model = load_model(directory.path() / name, **ops);
    if (!model) FAIL(model.error().message);
    return (*model)->fingerprint();
  };
  CHECK(fingerprint("shards") == fingerprint("one"));
  CHECK(fingerprint("seed") != fingerprint("one"));
}

TEST_CASE("the tokenizer fills its vocabulary consistently") {
  const int vocab = GENERATE(259, 260, 4000, 32000, 160000);
  CAPTURE(vocab);
  const test::TempDirectory directory;
  SynthOptions options = tiny(directory.path());
  options.vocab = vocab;
  options.hidden = 2;
  REQUIRE(write_synthetic_model(options));
  const json tokenizer = json::parse(read(directory.path() / "tokenizer.json"));
  const json& tokens = tokenizer["model"]["vocab"];
  const json& merges = tokenizer["model"]["merges"];
  CHECK(static_cast<int>(tokens.size()) == vocab - 3);
  CHECK(static_cast<int>(merges.size()) == vocab - 259);
  std::set<int> ids;
  for (const auto& [token, id] : tokens.items()) ids.insert(id.get<int>());
  for (const json& added : tokenizer["added_tokens"]) ids.insert(added["id"].get<int>());
  CHECK(static_cast<int>(ids.size()) == vocab);
  CHECK(*ids.rbegin() == vocab - 1);
  int rank = 0;
  for (const json& merge : merges) {
    const auto text = merge.get<std::string>();
    const std::size_t space = text.find(' ');
    const bool consistent = tokens.contains(text.substr(0, space)) &&
                            tokens.contains(text.substr(space + 1)) &&
                            tokens.value(text.substr(0, space) + text.substr(space + 1), -1) == 256 + rank++;
    if (!consistent) FAIL("merge '" << text << "'");
  }
  const json config = json::parse(read(directory.path() / "tokenizer_config.json"));
  CHECK(config["chat_template"].get<std::string>().find("<|im_start|>") != std::string::npos);
}

TEST_CASE("named shapes") {
  CHECK(synth_parameters(*synth_shape("150M")) == 152'980'224);
  CHECK(synth_parameters(*synth_shape("1.1B")) == 1'100'048'384);
  CHECK_FALSE(synth_shape("7T"));
}

TEST_CASE("what cannot be written is refused") {
  const test::TempDirectory directory;
  const auto field = [&](auto change) {
    SynthOptions options = tiny(directory.path() / "x");
    change(options);
    const auto result = write_synthetic_model(options);
    REQUIRE_FALSE(result);
    CHECK_FALSE(std::filesystem::exists(directory.path() / "x"));
    return result.error().field;
  };
  CHECK(field([](SynthOptions& o) { o.hidden = 0; }) == "hidden");
  CHECK(field([](SynthOptions& o) { o.layers = -1; }) == "layers");
  CHECK(field([](SynthOptions& o) { o.vocab = 258; }) == "vocab");
  CHECK(field([](SynthOptions& o) { o.vocab = 5'000'000; }) == "vocab");
  CHECK(field([](SynthOptions& o) { o.head_dim = 15; }) == "head_dim");
  CHECK(field([](SynthOptions& o) { o.kv_heads = 3; }) == "kv_heads");
  CHECK(field([](SynthOptions& o) { o.dtype = DType::i32; }) == "dtype");
  CHECK(field([](SynthOptions& o) { o.directory = "/proc/nowhere"; }) == "directory");
  directory.write("config.json", "{}");
  const auto again = write_synthetic_model(tiny(directory.path()));
  REQUIRE_FALSE(again);
  CHECK(again.error().message.find("already holds a model") != std::string::npos);
}

}  // namespace baton
