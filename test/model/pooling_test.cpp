// 1_Pooling/config.json, as sentence-transformers has written it over time.
#include "baton/model/pooling.hpp"

#include "checkpoint_writer.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

using Modes = std::vector<std::string>;

std::string said(const Result<Modes>& result) {
  REQUIRE_FALSE(result);
  return result.error().message;
}

}  // namespace

TEST_CASE("a pooling is its modes that are switched on, or its one name") {
  CHECK(*parse_pooling(R"({"word_embedding_dimension": 1024, "pooling_mode_cls_token": false,
                           "pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true,
                           "include_prompt": true})") == Modes{"lasttoken"});
  CHECK(*parse_pooling(R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})") ==
        Modes{"cls_token", "mean_tokens"});
  CHECK(*parse_pooling(R"({"embedding_dimension": 64, "pooling_mode": "mean"})") == Modes{"mean"});
}

TEST_CASE("a pooling that is none is said to be, with the key") {
  CHECK(said(parse_pooling("{}")).find("1_Pooling/config.json: pooling_mode is missing") !=
        std::string::npos);
  CHECK(said(parse_pooling(R"({"pooling_mode_lasttoken": false})")).find("is missing") != std::string::npos);
  CHECK(said(parse_pooling(R"({"pooling_mode_lasttoken": 1})")).find("pooling_mode_lasttoken") !=
        std::string::npos);
  CHECK(said(parse_pooling("[")).find("1_Pooling/config.json") != std::string::npos);
  CHECK(said(parse_pooling(std::string(1 << 17, ' '))).find("1_Pooling/config.json") != std::string::npos);
}

TEST_CASE("a directory without a pooling has no modes") {
  const test::TempDirectory directory;
  CHECK(load_pooling(directory.path())->empty());
  std::filesystem::create_directory(directory.path() / "1_Pooling");
  directory.write("1_Pooling/config.json", R"({"pooling_mode_lasttoken": true})");
  CHECK(*load_pooling(directory.path()) == Modes{std::string(kLastTokenPooling)});
  std::filesystem::remove(directory.path() / "1_Pooling/config.json");
  std::filesystem::create_directory(directory.path() / "1_Pooling/config.json");
  CHECK_FALSE(load_pooling(directory.path()));
}

}  // namespace baton
