#include "hub/selection.hpp"

#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

std::vector<RemoteFile> repository(const std::vector<std::string>& paths) {
  std::vector<RemoteFile> files;
  for (const std::string& path : paths) files.push_back({path, 1, {}});
  return files;
}

std::vector<std::string> chosen(const std::vector<std::string>& paths, const Selection& selection = {}) {
  const auto files = select_files(repository(paths), selection);
  REQUIRE(files);
  std::vector<std::string> out;
  for (const RemoteFile& file : *files) out.push_back(file.path);
  return out;
}

using Paths = std::vector<std::string>;
const Paths kModel{".gitattributes",
                   "1_Pooling/config.json",
                   "2_Dense/model.safetensors",
                   "LICENSE",
                   "README.md",
                   "config.json",
                   "consolidated.00.safetensors",
                   "generation_config.json",
                   "model-00001-of-00002.safetensors",
                   "model-00002-of-00002.safetensors",
                   "model.safetensors.index.json",
                   "model.gguf",
                   "onnx/model.onnx",
                   "original/consolidated.00.pth",
                   "original/model.safetensors",
                   "pytorch_model.bin",
                   "tokenizer.json",
                   "tokenizer_config.json",
                   "chat_template.jinja",
                   "special_tokens_map.json"};

}  // namespace

TEST_CASE("what Baton reads is chosen, other formats of the same weights are not") {
  CHECK(chosen(kModel) == Paths{"1_Pooling/config.json", "config.json", "generation_config.json",
                                "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
                                "chat_template.jinja", "special_tokens_map.json"});
}

TEST_CASE("--include adds, --exclude has the last word") {
  CHECK(
      chosen({"config.json", "model.safetensors", "README.md", "original/a"}, {{"*.md", "original/"}, {}}) ==
      Paths{"config.json", "model.safetensors", "README.md", "original/a"});
  CHECK(chosen({"config.json", "model.safetensors", "README.md"}, {{"*.md"}, {"*.safetensors", "R*"}}) ==
        Paths{"config.json"});
  CHECK(chosen({"config.json", "a.bin"}, {{"*.bin"}, {}}) ==
        Paths{"config.json", "a.bin"});  // on purpose: no complaint
  CHECK_FALSE(select_files(repository({"config.json"}), {{}, {"*"}}));
}

TEST_CASE("globs match whole paths") {
  CHECK(matches_glob("a/b/c.md", "*.md"));
  CHECK(matches_glob("original/x/y", "original/"));
  CHECK(matches_glob("model-00001.safetensors", "model-0000[12].*"));
  CHECK(matches_glob("ab", "a?"));
  CHECK_FALSE(matches_glob("a.md.txt", "*.md"));
  CHECK_FALSE(matches_glob("the_original/x", "original/"));
  CHECK_FALSE(matches_glob("model", "mode"));
}

TEST_CASE("what is no model for Baton says what is missing") {
  const auto error = [](const Paths& paths) {
    const auto files = select_files(repository(paths), {});
    REQUIRE_FALSE(files);
    CHECK(files.error().code == ErrorCode::unsupported);
    return files.error().message;
  };
  CHECK(error({"config.json", "pytorch_model.bin"}).find("pytorch_model.bin") != std::string::npos);
  CHECK(error({"config.json", "consolidated.safetensors"}).find("safetensors") != std::string::npos);
  CHECK(error({"model.safetensors"}).find("config.json") != std::string::npos);
  CHECK(error({"README.md"}).find("no file") != std::string::npos);
  CHECK(error({}).find("no file") != std::string::npos);
}

TEST_CASE("a path too long for one file name is refused where it is chosen") {
  const std::string path(181, 'x');
  CHECK(chosen({"config.json", "model.safetensors", path}).size() == 2);
  CHECK_FALSE(select_files(repository({"config.json", "model.safetensors", path}), {{"x*"}, {}}));
}

}  // namespace baton::hub::test
