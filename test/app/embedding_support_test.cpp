#include "app/embedding_support.hpp"

#include <unistd.h>

#include <fstream>

#include "support/catch.hpp"

namespace baton::test {
namespace {

// What `--embeddings auto` says of a model directory with this 1_Pooling/config.json.
std::string automatic(const std::string& pooling) {
  std::string pattern = (std::filesystem::temp_directory_path() / "baton-pooling-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  std::filesystem::create_directory(directory / "1_Pooling");
  std::ofstream(directory / "1_Pooling/config.json") << pooling;
  const std::string why = why_no_embeddings("auto", directory);
  CHECK(why_no_embeddings("on", directory).empty());
  CHECK_FALSE(why_no_embeddings("off", directory).empty());
  std::filesystem::remove_all(directory);
  return why;
}

}  // namespace

TEST_CASE("a model embeds by itself where it was trained to, by the last token") {
  CHECK(automatic(R"({"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false})").empty());
  CHECK(automatic(R"({"pooling_mode_mean_tokens": true})") ==
        "This model pools by 'mean_tokens'; supported: 'lasttoken'.");
  CHECK(automatic(R"({"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": true})") ==
        "This model pools by 'lasttoken' and 'mean_tokens'; supported: 'lasttoken'.");
  CHECK(automatic("{").find("1_Pooling/config.json") != std::string::npos);
  CHECK(why_no_embeddings("auto", "/nonexistent") ==
        "This model generates text: start the daemon with --embeddings on to embed with it.");
}

}  // namespace baton::test
