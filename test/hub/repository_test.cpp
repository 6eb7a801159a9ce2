#include "baton/hub/repository.hpp"

#include "support/catch.hpp"

namespace baton::hub::test {

TEST_CASE("a repository is ORG/NAME, with a revision where it is not main") {
  const auto plain = parse_repository("meta-llama/Llama-3.2-1B-Instruct");
  REQUIRE(plain);
  CHECK(plain->organisation == "meta-llama");
  CHECK(plain->name == "Llama-3.2-1B-Instruct");
  CHECK(plain->revision == "main");
  CHECK(plain->text() == "meta-llama/Llama-3.2-1B-Instruct");
  const auto pinned = parse_repository("a/b_c.d@refs/pr/7");
  REQUIRE(pinned);
  CHECK(pinned->id() == "a/b_c.d");
  CHECK(pinned->revision == "refs/pr/7");
  CHECK(pinned->text() == "a/b_c.d@refs/pr/7");
}

TEST_CASE("what is no repository is refused and named") {
  for (const std::string text :
       {"", "gpt2", "/b", "a/", "a/b/c", "../b", "a/..", "a/.b", "-a/b", "a/b-", "a/b c", "a/b\n", "a/b..c",
        "a/b--c", "./models", "/models/demo", "a\\b", "http://a/b", "a/b@"}) {
    INFO(text);
    const auto parsed = parse_repository(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::invalid_argument);
    CHECK(parsed.error().message.find("'" + text + "'") == 0);
  }
  CHECK_FALSE(parse_repository("a/" + std::string(97, 'x')));
  CHECK(parse_repository("a/" + std::string(96, 'x')));
  CHECK_FALSE(parse_repository(std::string_view("a/b\0c", 5)));
}

TEST_CASE("revisions are names that git takes") {
  for (const char* revision : {"v1.0", "refs/pr/1", "feature/x", "464f991", "a@b"})
    CHECK(parse_repository(std::string("a/b@") + revision));
  for (const char* revision : {"../x", "a..b", "/x", "x/", "-x", ".x", "a b", "a\tb", "a~1", "a^", "a:b",
                               "a?", "a*", "a[", "a\\b", "a//b", "\xc3\xa4"})
    CHECK_FALSE(parse_repository(std::string("a/b@") + revision));
}

TEST_CASE("percent encoding keeps what RFC 3986 does not reserve") {
  CHECK(percent_encode("refs/pr/1", false) == "refs%2Fpr%2F1");
  CHECK(percent_encode("a b/c?d#e%f&g+h", true) == "a%20b/c%3Fd%23e%25f%26g%2Bh");
  CHECK(percent_encode("Az0-_.~", false) == "Az0-_.~");
  CHECK(percent_encode("\xc3\xa4", true) == "%C3%A4");
}

TEST_CASE("different paths have different flat names") {
  CHECK(flat_name("a/b") == "a%2Fb");
  CHECK(flat_name("a%2Fb") != flat_name("a/b"));
  CHECK(flat_name("model.safetensors") == "model.safetensors");
}

}  // namespace baton::hub::test
