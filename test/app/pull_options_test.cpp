#include "app/pull_options.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "support/catch.hpp"

namespace baton::test {
namespace {

namespace fs = std::filesystem;

Environment with(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? std::string() : found->second;
  };
}

class Home {
 public:
  Home() : path_(fs::temp_directory_path() / ("baton-home-" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_ / ".cache/huggingface");
  }
  ~Home() { fs::remove_all(path_); }
  std::string put(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  std::string path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("the endpoint: flag, HF_ENDPOINT, huggingface.co") {
  CHECK(hub_endpoint("http://a", with({{"HF_ENDPOINT", "http://b"}})) == "http://a");
  CHECK(hub_endpoint("", with({{"HF_ENDPOINT", "http://b"}})) == "http://b");
  CHECK(hub_endpoint("", with({})) == "https://huggingface.co");
}

TEST_CASE("the token: flag, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, the home directory; trimmed") {
  const Home home;
  const std::string flag = home.put("flag", " flag\r\n"), path = home.put("path", "path"),
                    empty = home.put("empty", "\n");
  CHECK(*hub_token(flag, with({{"HF_TOKEN", "variable"}})) == "flag");
  CHECK(*hub_token("", with({{"HF_TOKEN", "variable"}, {"HF_TOKEN_PATH", path}})) == "variable");
  CHECK(*hub_token("", with({{"HF_TOKEN_PATH", path}, {"HOME", home.path()}})) == "path");
  CHECK(hub_token("", with({{"HOME", home.path()}}))->empty());
  home.put(".cache/huggingface/token", "login\n");
  CHECK(*hub_token("", with({{"HOME", home.path()}})) == "login");
  home.put("token", "moved");
  CHECK(*hub_token("", with({{"HOME", home.path()}, {"HF_HOME", home.path()}})) == "moved");
  CHECK(hub_token("", with({}))->empty());
  for (const std::string& file : {home.path() + "/none", home.path(), empty}) {
    const auto named = hub_token(file, with({{"HF_TOKEN", "variable"}}));
    REQUIRE_FALSE(named);
    CHECK(named.error().field == "--token-file");
    CHECK_FALSE(hub_token("", with({{"HF_TOKEN_PATH", file}})));
  }
}

TEST_CASE("the default place of a model") {
  const auto place = [](const char* repository, const Environment& env) {
    return default_model_directory(*hub::parse_repository(repository), env);
  };
  CHECK(*place("a/b", with({{"HOME", "/h"}})) == "/h/.cache/baton/models/a/b");
  CHECK(*place("a/b", with({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}})) == "/x/baton/models/a/b");
  CHECK(*place("a/b", with({{"HOME", "/h"}, {"XDG_CACHE_HOME", "relative"}})) ==
        "/h/.cache/baton/models/a/b");
  CHECK(*place("a/b@refs/pr/1", with({{"HOME", "/h"}})) == "/h/.cache/baton/models/a/b@refs%2Fpr%2F1");
  CHECK_FALSE(place("a/b", with({})));
}

TEST_CASE("serve's hint: for what may be a repository only, and where it was pulled to") {
  const Home home;
  const Environment env = with({{"HOME", home.path()}});
  CHECK(pull_hint("a/b", env).find("`baton pull a/b` fetches it") != std::string::npos);
  for (const char* text : {"/models/x", "./a/b", "models", "a/b/c"}) CHECK(pull_hint(text, env).empty());
  fs::create_directories(home.path() + "/.cache/baton/models/a/b");
  home.put(".cache/baton/models/a/b/config.json", "{}");
  CHECK(pull_hint("a/b", env).find(home.path() + "/.cache/baton/models/a/b") != std::string::npos);
}

TEST_CASE("words for a shell") {
  CHECK(shell_word("/m/a-b_c.d@e%2F") == "/m/a-b_c.d@e%2F");
  CHECK(shell_word("a b") == "'a b'");
  CHECK(shell_word("a'b;$c") == "'a'\\''b;$c'");
  CHECK(shell_word("") == "''");
}

}  // namespace baton::test
