// Safetensors: one file, shards, and every way in which a file can lie.
#include "model/checkpoint.hpp"

#include <cstring>
#include <optional>

#include "checkpoint_writer.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using test::f32_bytes;
using test::safetensors_file;
using test::TempDirectory;
using test::TestTensor;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<std::vector<SafetensorsEntry>> parse(const std::string& file) {
  return parse_safetensors(as_bytes(file), "f.safetensors");
}

std::string entry(const std::string& name, const std::string& rest) {
  return "\"" + name + "\":{" + rest + "}";
}

}  // namespace

TEST_CASE("a safetensors header is read") {
  const auto entries = parse(safetensors_file(
      {TestTensor{"b", "BF16", {3, 2}, std::string(12, 'x')}, TestTensor{"a", "F32", {}, std::string(4, 'y')},
       TestTensor{"empty", "F16", {0, 7}, ""}, TestTensor{"ids", "I64", {2}, std::string(16, 'z')}}));
  REQUIRE(entries);
  REQUIRE(entries->size() == 4);
  const SafetensorsEntry& b = (*entries)[0];
  CHECK(b.name == "b");
  CHECK(b.dtype == DType::bf16);
  CHECK(b.shape == std::vector<std::int64_t>{3, 2});
  CHECK(b.end - b.begin == 12);
  CHECK_FALSE((*entries)[3].dtype);
  CHECK((*entries)[3].dtype_name == "I64");
}

TEST_CASE("holes between tensors are allowed, the order of keys is free") {
  const auto entries =
      parse(safetensors_file("{" + entry("a", R"("data_offsets":[8,12],"shape":[1],"dtype":"F32")") + "," +
                                 entry("b", R"("shape":[1],"dtype":"F32","data_offsets":[0,4])") + "}",
                             std::string(12, '\0')));
  REQUIRE(entries);
  CHECK((*entries)[0].name == "b");
}

TEST_CASE("a lying header is refused, with the tensor's name") {
  struct Case {
    std::string file;
    const char* field;
    const char* says;
  };
  const auto one = [](const std::string& rest) {
    return safetensors_file("{" + entry("w", rest) + "}", std::string(16, '\0'));
  };
  const std::string good = R"("dtype":"F32","shape":[2,2],"data_offsets":[0,16])";
  REQUIRE(parse(one(good)));
  const std::vector<Case> cases = {
      {"", "", "truncated: shorter than the 8 bytes"},
      {"1234567", "", "truncated: shorter"},
      {safetensors_file("{}", "", 100), "", "truncated: the header should have 100 bytes, but only 2 follow"},
      {safetensors_file("{}", "", 100'000'001), "", "exceeds the limit of 100 MB"},
      {safetensors_file("{}", "", UINT64_MAX), "", "exceeds the limit of 100 MB"},
      {safetensors_file("", ""), "", "not valid JSON"},
      {safetensors_file("{", ""), "", "not valid JSON"},
      {safetensors_file("{} x", ""), "", "not valid JSON"},
      {safetensors_file("[]", ""), "", "an array where it does not belong"},
      {safetensors_file(std::string(200'000, '['), ""), "", "an array where it does not belong"},
      {safetensors_file("7", ""), "", "a number where it does not belong"},
      {safetensors_file(R"({"w": 3})", ""), "w", "a number where it does not belong"},
      {safetensors_file(R"({"__metadata__": {"a": {}}})", ""), "", "an object where it does not belong"},
      {safetensors_file(R"({"__metadata__": {"a": 1}})", ""), "", "a number where it does not belong"},
      {one(R"("dtype":"F32","shape":[2,2])"), "w", "lacks dtype, shape or data_offsets"},
      {one(R"("dtype":"F32","dtype":"F32")"), "w", "has 'dtype' twice"},
      {one(R"("stride":[1])"), "w", "unknown key 'stride'"},
      {one(R"("dtype":4)"), "w", "a number where"},
      {one(R"("dtype":"F32","shape":[-1])"), "w", "a negative number where"},
      {one(R"("dtype":"F32","shape":[2.5])"), "w", "a fraction where"},
      {one(R"("dtype":"F32","shape":[null])"), "w", "null where"},
      {one(R"("dtype":"F32","shape":[[2]])"), "w", "an array where"},
      {one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1])"), "w", "a dimension too many"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[0])"), "w", "must hold two numbers"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,16,16])"), "w", "a number where"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[4,20])"), "w",
       "[4, 20] lie outside the file's 16 bytes"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[16,0])"), "w", "lie outside"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,18446744073709551615])"), "w", "lie outside"},
      {one(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,12])"), "w",
       "shape [2, 2] of F32 needs 16 bytes, but data_offsets span 12"},
      {one(R"("dtype":"BF16","shape":[2,2],"data_offsets":[0,16])"), "w", "needs 8 bytes"},
      {one(R"("dtype":"F32","shape":[16777216,16777216,16777216],"data_offsets":[0,16])"), "w",
       "absurdly large"},
      {one(R"("dtype":"Q4_K","shape":[2,2],"data_offsets":[0,16])"), "w", "dtype 'Q4_K' is not one"},
      {safetensors_file("{" + entry("w", good) + "," + entry("w", good) + "}", std::string(16, '\0')), "w",
       "tensor 'w' is named twice"},
      {safetensors_file("{" + entry("w", good) + "," +
                            entry("v", R"("dtype":"F32","shape":[1],"data_offsets":[12,16])") + "}",
                        std::string(16, '\0')),
       "v", "tensors 'w' and 'v' share bytes"},
  };
  for (const Case& c : cases) {
    const auto result = parse(c.file);
    CAPTURE(c.says, c.file.substr(0, 120));
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::corrupt);
    CHECK(result.error().message.starts_with("f.safetensors: "));
    CAPTURE(result.error().message);
    CHECK(result.error().message.find(c.says) != std::string::npos);
    CHECK(result.error().field == c.field);
  }
}

TEST_CASE("every truncation of a file is refused") {
  const std::string file = safetensors_file({TestTensor{"w", "F32", {2}, std::string(8, 'a')}});
  REQUIRE(parse(file));
  for (std::size_t size = 0; size < file.size(); ++size) CHECK_FALSE(parse(file.substr(0, size)));
}

TEST_CASE("a checkpoint of one file") {
  const TempDirectory directory;
  directory.write("model.safetensors",
                  safetensors_file({TestTensor{"w", "F32", {2, 3}, f32_bytes({1, 2, 3, 4, 5, 6})},
                                    TestTensor{"n", "F32", {2}, f32_bytes({7, 8})},
                                    TestTensor{"ids", "I64", {1}, std::string(8, '\0')}}));
  const auto checkpoint = Checkpoint::open(directory.path());
  REQUIRE(checkpoint);
  const auto w = checkpoint->matrix("w", 2, 3);
  REQUIRE(w);
  CHECK(w->out == 2);
  CHECK(w->in == 3);
  CHECK(w->dtype == DType::f32);
  float last = 0;
  std::memcpy(&last, static_cast<const char*>(w->data) + 20, 4);
  CHECK(last == 6);
  REQUIRE(checkpoint->vector("n", 2));
  CHECK(checkpoint->vector("n", 2)->in == 2);

  const auto shape = checkpoint->matrix("w", 3, 2);
  REQUIRE_FALSE(shape);
  CHECK(shape.error().message ==
        "model.safetensors: tensor 'w' has shape [2, 3], but config.json asks for [3, 2]");
  CHECK(shape.error().field == "w");
  const auto rank = checkpoint->vector("w", 2);
  REQUIRE_FALSE(rank);
  CHECK(rank.error().message.find("has shape [2, 3], but config.json asks for [2]") != std::string::npos);
  const auto missing = checkpoint->matrix("x", 3, 2);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message == "the checkpoint has no tensor 'x', expected with shape [3, 2]");
  const auto dtype = checkpoint->vector("ids", 1);
  REQUIRE_FALSE(dtype);
  CHECK(dtype.error().code == ErrorCode::unsupported);
  CHECK(dtype.error().message.find("dtype I64; supported: F32, F16, BF16") != std::string::npos);
}

TEST_CASE("a checkpoint in shards") {
  const TempDirectory directory;
  directory.write("model-1.safetensors", safetensors_file({TestTensor{"a", "F32", {1}, f32_bytes({1})},
                                                           TestTensor{"b", "F32", {1}, f32_bytes({-1})}}));
  directory.write("model-2.safetensors", safetensors_file({TestTensor{"b", "F32", {1}, f32_bytes({2})}}));
  const auto open = [&](const std::string& index) {
    directory.write("model.safetensors.index.json", index);
    return Checkpoint::open(directory.path());
  };
  SECTION("each tensor comes from the shard that the index names") {
    const auto checkpoint = open(R"({"metadata": {"total_size": 8, "more": {"deep": {"deeper": []}}},
        "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
    REQUIRE(checkpoint);
    CHECK(checkpoint->size() == 2);
    float b = 0;
    std::memcpy(&b, checkpoint->vector("b", 1)->data, 4);
    CHECK(b == 2);
  }
  SECTION("what an index can get wrong") {
    struct Case {
      const char* index;
      const char* field;
      const char* says;
    };
    for (const Case& c : std::vector<Case>{
             {"{", "", "not a JSON object"},
             {"[]", "", "not a JSON object"},
             {"{}", "weight_map", "weight_map must be an object"},
             {R"({"weight_map": {}})", "weight_map", "weight_map must be an object"},
             {R"({"weight_map": {"a": 1}})", "a", "must be a file name"},
             {R"({"weight_map": {"a": ""}})", "a", "not a plain .safetensors file name"},
             {R"({"weight_map": {"a": "../model-1.safetensors"}})", "a", "not a plain"},
             {R"({"weight_map": {"a": "/etc/x.safetensors"}})", "a", "not a plain"},
             {R"({"weight_map": {"a": "sub\\x.safetensors"}})", "a", "not a plain"},
             {R"({"weight_map": {"a": ".safetensors"}})", "a", "not a plain"},
             {R"({"weight_map": {"a": "model.bin"}})", "a", "not a plain"},
             {R"({"weight_map": {"a": "model-1.safetensors", "a": "model-2.safetensors"}})", "a", "twice"},
             {R"({"weight_map": {"c": "model-1.safetensors"}})", "c", "'c' is not in model-1.safetensors"}}) {
      const auto result = open(c.index);
      CAPTURE(c.index);
      REQUIRE_FALSE(result);
      CHECK(result.error().code == ErrorCode::corrupt);
      CHECK(result.error().field == c.field);
      CAPTURE(result.error().message);
      CHECK(result.error().message.find(c.says) != std::string::npos);
    }
  }
  SECTION("a shard that is missing") {
    const auto result = open(R"({"weight_map": {"a": "model-3.safetensors"}})");
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::not_found);
    CHECK(result.error().message.find("model-3.safetensors") != std::string::npos);
  }
}

TEST_CASE("tensors get the names that a language model alone would have had") {
  const auto names = [](const std::vector<std::string>& saved) {
    const TempDirectory directory;
    std::vector<TestTensor> tensors;
    for (const std::string& name : saved) tensors.push_back({name, "F32", {1}, f32_bytes({1})});
    directory.write("model.safetensors", safetensors_file(tensors));
    const auto one = Checkpoint::open(directory.path());
    REQUIRE(one);
    std::filesystem::rename(directory.path() / "model.safetensors", directory.path() / "model-1.safetensors");
    std::string index;
    for (const std::string& name : saved)
      index += (index.empty() ? "\"" : ",\"") + name + "\":\"model-1.safetensors\"";
    directory.write("model.safetensors.index.json", R"({"weight_map":{)" + index + "}}");
    const auto sharded = Checkpoint::open(directory.path());
    REQUIRE(sharded);
    CHECK(one->names() == sharded->names());
    CHECK(one->vector(one->names().front(), 1));
    return one->names();
  };
  using Names = std::vector<std::string>;
  CHECK(names({"embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight"}) ==
        Names{"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"});
  CHECK(names({"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}) ==
        Names{"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"});
  // Inside a model that also sees, as saved before and since transformers 4.52.
  CHECK(
      names({"language_model.lm_head.weight", "language_model.model.embed_tokens.weight",
             "language_model.model.norm.weight", "vision_tower.embed.weight"}) ==
      Names{"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight", "vision_tower.embed.weight"});
  CHECK(names({"lm_head.weight", "model.language_model.embed_tokens.weight",
               "model.language_model.norm.weight", "model.vision_tower.language_model.weight"}) ==
        Names{"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight",
              "model.vision_tower.language_model.weight"});
  const TempDirectory adapter;
  std::vector<TestTensor> tensors;
  for (const char* name :
       {"base_model.model.language_model.model.layers.0.a", "base_model.model.model.layers.0.b",
        "base_model.model.model.language_model.layers.0.c"})
    tensors.push_back({name, "F32", {1}, f32_bytes({1})});
  adapter.write("adapter.safetensors", safetensors_file(tensors));
  CHECK(Checkpoint::open_file(adapter.path() / "adapter.safetensors")->names() ==
        Names{"base_model.model.model.layers.0.a", "base_model.model.model.layers.0.b",
              "base_model.model.model.layers.0.c"});
  CHECK(names({"embed_tokens.weight", "model.embed_tokens.weight"}) ==
        Names{"embed_tokens.weight", "model.embed_tokens.weight"});
}

TEST_CASE("a directory without weights") {
  const TempDirectory directory;
  const auto none = Checkpoint::open(directory.path());
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ErrorCode::not_found);
  CHECK(none.error().message.find("model.safetensors") != std::string::npos);
  std::filesystem::create_directory(directory.path() / "model.safetensors");
  CHECK(Checkpoint::open(directory.path()).error().code == ErrorCode::io);
  std::filesystem::remove(directory.path() / "model.safetensors");
  directory.write("model.safetensors", "");
  CHECK(Checkpoint::open(directory.path()).error().code == ErrorCode::corrupt);
}

}  // namespace baton
