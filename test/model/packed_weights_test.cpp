// Weights of 4 and 8 bits: what AWQ's, GPTQ's and compressed-tensors' checkpoints stand for, through the
// whole model against the oracle, and every way in which their tensors can lie.
#include "model/packed_weights.hpp"

#include <climits>
#include <cmath>

#include "baton/tensor/convert.hpp"
#include "packed_writer.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using test::group_of;
using test::Packer;
using test::Runner;
using test::some_tokens;
using test::TestTensor;
using test::TinyModel;
using test::Tokens;
using test::worst_difference;
using Kind = Packer::Kind;

const Packer kAwq{.kind = Kind::awq};
const Packer kGptq{.kind = Kind::gptq, .ordered = true};
const Packer kCompressed{.kind = Kind::compressed, .ordered = true};

const std::vector<Packer> kAll = {
    {.kind = Kind::compressed, .asymmetric = false},
    {.kind = Kind::compressed, .scale_type = "BF16"},
    {.kind = Kind::compressed, .plain_zeros = true, .scale_type = "F32"},
    {.kind = Kind::compressed, .bits = 8, .group = 0, .asymmetric = false},
    {.kind = Kind::compressed, .bits = 8, .plain_zeros = true},
    {.kind = Kind::compressed, .bits = 8, .ordered = true},
    {.kind = Kind::compressed, .group = 0},
    kCompressed,
    kAwq,
    {.kind = Kind::awq, .group = 0},
    {.kind = Kind::gptq},
    {.kind = Kind::gptq, .group = 0, .named_groups = false},
    {.kind = Kind::gptq, .bits = 8, .ordered = true},
    {.kind = Kind::gptq, .bits = 8, .v2 = true},
    {.kind = Kind::gptq, .v2 = true, .named_groups = false},
    kGptq,
};

// One of each set of tensors.
const std::vector<Packer> kShapes = {
    kAwq, kGptq, kCompressed, {.kind = Kind::compressed, .plain_zeros = true}};

double difference(const TinyModel& tiny, OpsGroup& group, Quantization quantization = Quantization::none) {
  auto model = load_model(tiny.directory.path(), group, {.quantization = quantization});
  if (!model) FAIL(model.error().message);
  const test::OracleDecoder oracle((*model)->config(), tiny.weights);
  Runner runner(**model, group.rank(0), 4);
  const Tokens tokens = some_tokens(20);
  return worst_difference(runner.feed(tokens), oracle.logits(tokens));
}

// The model's fingerprint, or what is wrong with it.
struct Loaded {
  std::string fingerprint, field, message;
};
Loaded load(const TinyModel& tiny) {
  tiny.write();
  const auto lone = group_of(1);
  bool packed = false;
  const auto model = load_model(tiny.directory.path(), *lone,
                                {.progress = [&](std::uint64_t, std::uint64_t) { packed = true; }});
  if (model) return {to_hex((*model)->fingerprint()), {}, {}};
  CHECK_FALSE(packed);  // found by the survey
  return {{}, model.error().field, model.error().message};
}

// The tensors of one projection.
std::vector<std::string> tensors_of(const TinyModel& tiny, const std::string& projection) {
  std::vector<std::string> names;
  for (const TestTensor& tensor : tiny.tensors)
    if (tensor.name.starts_with(projection + ".")) names.push_back(tensor.name);
  return names;
}

std::size_t element_size(const std::string& dtype) {
  return dtype == "I64" ? 8 : dtype == "I8" ? 1 : dtype == "I32" || dtype == "F32" ? 4 : 2;
}

}  // namespace

TEST_CASE("packed weights stand for what their format says, in every tile and from every output") {
  const Packer how = GENERATE(from_range(kAll));
  CAPTURE(static_cast<int>(how.kind), how.bits, how.group, how.ordered);
  Packer sized = how;
  sized.group = how.group > 0 ? 24 : 0;  // which no tile's edge meets
  const bool compressed = how.kind == Kind::compressed;
  const std::int64_t out = compressed ? 147 : 280, in = compressed && how.group == 0 ? 301 : 312;
  std::mt19937 engine(3);
  const test::PackedWeight made = test::pack_projection(sized, "p", out, in, engine);
  const test::TempDirectory directory;
  directory.write("model.safetensors", test::safetensors_file(made.tensors));
  const auto checkpoint = Checkpoint::open(directory.path());
  REQUIRE(checkpoint);
  const PackedWeights packed{static_cast<PackedWeights::Kind>(static_cast<int>(how.kind) + 1),
                             how.bits,
                             static_cast<std::int32_t>(sized.group),
                             compressed && !how.asymmetric,
                             how.ordered,
                             how.kind == Kind::gptq && !how.v2};
  const auto projection = PackedProjection::open(*checkpoint, "p", packed, {out, in});
  if (!projection) FAIL(projection.error().message);
  for (const auto& [first, last] : {std::pair{std::int64_t{0}, out}, {3, 4}, {7, 140}, {out - 1, out}}) {
    CAPTURE(first, last);
    std::vector<float> values(static_cast<std::size_t>((last - first) * in));
    projection->expand(first, last, DType::f32, std::as_writable_bytes(std::span(values)).data());
    CHECK(std::equal(values.begin(), values.end(), made.weights.begin() + first * in));
    for (const DType narrow : {DType::bf16, DType::f16}) {
      std::vector<std::uint16_t> bits(values.size()), expected(values.size());
      projection->expand(first, last, narrow, std::as_writable_bytes(std::span(bits)).data());
      convert_values(values.data(), DType::f32, static_cast<std::int64_t>(values.size()), narrow,
                     std::as_writable_bytes(std::span(expected)).data());
      CHECK(bits == expected);
    }
  }
}

TEST_CASE("models of packed weights agree with the oracle") {
  const Packer how = GENERATE(from_range(kAll));
  const auto [width, patch] =
      GENERATE(table<std::int32_t, const char*>({{1, R"({"attention_bias": true, "mlp_bias": true})"},
                                                 {2, R"({"attention_bias": true, "mlp_bias": true})"}}));
  CAPTURE(static_cast<int>(how.kind), how.bits, how.group, how.ordered, width);
  TinyModel tiny(patch);
  pack_model(tiny, how);
  CHECK(difference(tiny, *group_of(width)) < 2e-4);
}

TEST_CASE("experts, tied and partly whole models of packed weights agree with the oracle") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  const auto width = GENERATE(1, 2);
  const auto [patch, left_whole] = GENERATE(table<const char*, const char*>({
      {R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})",
       "lm_head"},
      {R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "num_experts_per_tok": 3,
            "moe_intermediate_size": 16})",
       "lm_head"},
      {R"({"tie_word_embeddings": true})", "lm_head"},
      {R"({"architectures": ["Qwen2ForCausalLM"]})", "lm_head"},
      {R"({"vocab_size": 61})", "_proj"},             // none is packed, whatever config.json says
      {R"({"tie_word_embeddings": true})", "k_proj"}  // one of three that lie side by side
  }));
  CAPTURE(static_cast<int>(how.kind), width, patch);
  TinyModel tiny(patch);
  pack_model(tiny, how, std::string(left_whole) == "_proj" ? "" : left_whole);
  CHECK(difference(tiny, *group_of(width)) < 2e-4);
}

TEST_CASE("an output that is packed is expanded too") {
  TinyModel tiny;
  pack_model(tiny, kCompressed, "nothing");
  CHECK(difference(tiny, *group_of(1)) < 2e-4);
  CHECK(difference(tiny, *group_of(2)) < 2e-4);
}

TEST_CASE("packed weights in the types of real checkpoints") {
  const std::string dtype = GENERATE("F16", "BF16");
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  TinyModel tiny(R"({"attention_bias": true})", dtype);
  pack_model(tiny, how);
  CHECK(difference(tiny, *group_of(1)) < 0.1);
  for (TestTensor& tensor : tiny.tensors) {  // a bias in a type of its own is converted
    if (!tensor.name.ends_with(".bias")) continue;
    tensor.dtype = dtype == "F16" ? "BF16" : "F16";
    tensor.bytes = test::encode(tiny.weights.at(tensor.name), tensor.dtype);
  }
  tiny.write();
  CHECK(difference(tiny, *group_of(1)) < 0.1);
}

TEST_CASE("packed weights are rounded to e4m3 on request") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  const auto width = GENERATE(1, 2);
  TinyModel tiny(R"({"architectures": ["Qwen2ForCausalLM"]})");
  pack_model(tiny, how);
  for (auto& [name, values] : tiny.weights)
    if (name.ends_with("_proj.weight"))
      test::round_weights(values, name.ends_with("down_proj.weight") ? 40
                                  : name.ends_with("o_proj.weight")  ? 48
                                                                     : 24);
  CHECK(difference(tiny, *group_of(width), Quantization::fp8) < 2e-4);
}

TEST_CASE("every tensor of packed weights must be of its type and shape") {
  const Packer how = GENERATE(from_range(kShapes));
  const std::string projection = "model.layers.1.mlp.down_proj";
  CAPTURE(static_cast<int>(how.kind));
  TinyModel tiny;
  pack_model(tiny, how);
  REQUIRE_FALSE(load(tiny).fingerprint.empty());
  for (const std::string& name : tensors_of(tiny, projection)) {
    const TestTensor good = tiny.tensor(name);
    const auto field_of = [&](const TestTensor& bad) {
      tiny.tensor(name) = bad;
      const Loaded loaded = load(tiny);
      tiny.tensor(name) = good;
      return loaded.field;
    };
    const auto shaped = [&](std::vector<std::int64_t> shape, const std::string& dtype) {
      std::size_t elements = 1;
      for (const std::int64_t n : shape) elements *= static_cast<std::size_t>(n);
      return TestTensor{name, dtype, std::move(shape), std::string(elements * element_size(dtype), '\0')};
    };
    CAPTURE(name);
    for (std::size_t d = 0; d < good.shape.size(); ++d) {
      for (const std::int64_t n :
           {std::int64_t{0}, good.shape[d] - 1, good.shape[d] + 1, good.shape[d] * 2}) {
        auto shape = good.shape;
        shape[d] = n;
        CAPTURE(d, n);
        CHECK(field_of(shaped(shape, good.dtype)) == name);
      }
    }
    CHECK(field_of(shaped({}, good.dtype)) == name);
    auto longer = good.shape;
    longer.push_back(1);
    CHECK(field_of(shaped(longer, good.dtype)) == name);
    if (good.shape.size() == 2) CHECK(field_of(shaped({good.shape[1], good.shape[0]}, good.dtype)) == name);
    for (const char* dtype : {"I16", "U32", "BOOL", "I64", "F8_E4M3"}) {
      if (good.dtype == dtype) continue;
      TestTensor other =
          shaped(good.shape, dtype == std::string("F8_E4M3") || dtype == std::string("BOOL") ? "I8"
                             : dtype == std::string("U32")                                   ? "I32"
                                                                                             : dtype);
      other.dtype = dtype;
      CAPTURE(dtype);
      CHECK(field_of(other) == name);
    }
    tiny.remove(name);
    const Loaded without = load(tiny);
    tiny.tensors.push_back(good);
    const bool codes = name.ends_with("qweight") || name.ends_with("_packed");
    CHECK(without.field == (codes ? projection + ".weight" : name));
    if (codes)
      CHECK(without.message.find("neither the tensor '" + projection + ".weight' nor '" + name) !=
            std::string::npos);
  }
  CHECK_FALSE(load(tiny).fingerprint.empty());
}

TEST_CASE("scales that are not finite, and inputs of no group, are refused") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  TinyModel tiny;
  pack_model(tiny, how);
  for (const std::string& name : tensors_of(tiny, "model.layers.2.self_attn.o_proj")) {
    TestTensor& tensor = tiny.tensor(name);
    const std::string good = tensor.bytes;
    CAPTURE(name);
    if (name.ends_with("scales") || name.ends_with("_scale")) {
      for (const char* bits : {"\x00\x7c", "\x00\xfc", "\x01\x7e"}) {
        for (const std::size_t at : {std::size_t{0}, good.size() - 2}) {
          tensor.bytes = good;
          tensor.bytes.replace(at, 2, std::string(bits, 2));
          CHECK(load(tiny).field == name);
        }
      }
    } else if (name.ends_with("g_idx")) {
      for (const std::int32_t group : {-1, 6, 7, INT_MAX, INT_MIN}) {
        for (const std::size_t at : {std::size_t{0}, good.size() - 4}) {
          tensor.bytes = good;
          tensor.bytes.replace(at, 4, test::i32_bytes({group}));
          CAPTURE(group);
          CHECK(load(tiny).field == name);
        }
      }
    } else if (name.ends_with("_shape")) {
      for (std::size_t at = 0; at < good.size(); ++at) {
        tensor.bytes = good;
        tensor.bytes[at] = static_cast<char>(tensor.bytes[at] ^ 0x90);
        CHECK(load(tiny).field == name);
      }
    } else {
      continue;
    }
    tensor.bytes = good;
  }
  CHECK_FALSE(load(tiny).fingerprint.empty());
}

TEST_CASE("what a packed checkpoint and its config.json disagree on is refused") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  TinyModel tiny;
  pack_model(tiny, how);
  const std::string first = "model.layers.0.self_attn.q_proj";
  SECTION("groups that do not divide a projection's inputs") {
    Packer other = how;
    other.group = 16;
    tiny.config["quantization_config"] = quantization_config(other);
    const Loaded loaded = load(tiny);
    CHECK(loaded.field == (how.kind == Kind::compressed ? "quantization_config.config_groups"
                                                        : "quantization_config.group_size"));
    CHECK(loaded.message.find("groups of 16 inputs, which do not divide the 24 of '" + first + "'") !=
          std::string::npos);
  }
  SECTION("groups of another size") {
    Packer other = how;
    other.group = 4;
    tiny.config["quantization_config"] = quantization_config(other);
    CHECK(load(tiny).field.starts_with(first + "."));
  }
  SECTION("other bits") {
    Packer other = how;
    other.bits = 8;
    tiny.config["quantization_config"] = quantization_config(other);
    CHECK(load(tiny).field == (how.kind == Kind::awq    ? "quantization_config.bits"
                               : how.kind == Kind::gptq ? first + ".qweight"
                                                        : first + ".weight_packed"));
  }
  SECTION("a weight and its codes") {
    tiny.tensors.push_back({first + ".weight", "F32", {48, 24}, std::string(48 * 24 * 4, '\0')});
    CHECK(load(tiny).field == "quantization_config");
  }
  SECTION("a bias that the config knows nothing of") {
    TestTensor bias{first + ".bias", "F16", {48}, std::string(96, '\0')};
    const std::string without = load(tiny).fingerprint;
    tiny.tensors.push_back(bias);
    CHECK(load(tiny).fingerprint == without);  // AutoGPTQ's zeros
    tiny.tensors.back().bytes[95] = '\x3c';
    CHECK(load(tiny).field == "attention_bias or mlp_bias");
    tiny.tensors.back() = {first + ".bias", "F16", {47}, std::string(94, '\0')};
    CHECK(load(tiny).field == first + ".bias");
  }
  SECTION("fewer layers than there are") {
    tiny.config["num_hidden_layers"] = 2;
    CHECK(load(tiny).field == "num_hidden_layers");
  }
}

TEST_CASE("packed tensors that nothing asks for are not left out") {
  SECTION("an expert") {
    TinyModel tiny(
        R"({"architectures": ["MixtralForCausalLM"], "num_local_experts": 5, "num_experts_per_tok": 2})");
    pack_model(tiny, kGptq);
    tiny.config["num_local_experts"] = 4;
    CHECK(load(tiny).field == "model.layers.0.block_sparse_moe.gate.weight");
    for (int layer = 0; layer < 3; ++layer) {
      TestTensor& gate =
          tiny.tensor("model.layers." + std::to_string(layer) + ".block_sparse_moe.gate.weight");
      gate.shape[0] = 4;
      gate.bytes.resize(4 * 24 * 4);
    }
    CHECK(load(tiny).field == "the number of experts");
  }
  SECTION("an output beside tied embeddings") {
    TinyModel tiny;
    pack_model(tiny, kCompressed, "nothing");
    tiny.config["tie_word_embeddings"] = true;
    CHECK(load(tiny).field == "tie_word_embeddings");
  }
  SECTION("zero points of symmetric weights") {
    TinyModel tiny;
    Packer how{.kind = Kind::compressed};
    pack_model(tiny, how);
    how.asymmetric = false;
    tiny.config["quantization_config"] = quantization_config(how);
    CHECK(load(tiny).field == "quantization_config.config_groups");
  }
}

TEST_CASE("a bit of any packed tensor, or another reading of them, is another model") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  TinyModel tiny;
  pack_model(tiny, how);
  const std::string original = load(tiny).fingerprint;
  REQUIRE_FALSE(original.empty());
  for (const std::string& name : tensors_of(tiny, "model.layers.1.mlp.up_proj")) {
    if (name.ends_with("_shape")) continue;
    TestTensor& tensor = tiny.tensor(name);
    const std::string good = tensor.bytes;
    tensor.bytes[0] = static_cast<char>(tensor.bytes[0] ^ 1);
    CAPTURE(name);
    const Loaded changed = load(tiny);
    CHECK(changed.field == "");
    CHECK(changed.fingerprint != original);
    tensor.bytes = good;
  }
  CHECK(load(tiny).fingerprint == original);
  if (how.kind == Kind::gptq) {
    tiny.config["quantization_config"]["checkpoint_format"] = "gptq_v2";
    CHECK(load(tiny).fingerprint != original);
  }
}

TEST_CASE("loading packed weights reports its progress over all of their bytes") {
  const Packer how = GENERATE(kAwq, kGptq, kCompressed);
  TinyModel tiny(R"({"attention_bias": true})");
  pack_model(tiny, how);
  std::uint64_t bytes = 0, last = 0;
  for (const TestTensor& tensor : tiny.tensors) bytes += tensor.bytes.size();
  REQUIRE(tiny.load(*group_of(1), [&](std::uint64_t done, std::uint64_t all) {
    CHECK(all == bytes);
    CHECK(done > last);
    last = done;
  }));
  CHECK(last == bytes);
}

}  // namespace baton
