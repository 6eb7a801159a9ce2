// What pull() decides before it asks anybody. The rest is test/e2e/test_pull.py.
#include "baton/hub/pull.hpp"

#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

struct Impatient final : PullObserver {
  bool keep_going() override { return false; }
  void note(const std::string& text) override { notes += text + "\n"; }
  std::string notes;
};

struct Outcome {
  Result<PullReport> result;
  std::string notes;
};

Outcome ask(const std::string& endpoint, const std::string& token) {
  PullOptions options;
  options.repository = *parse_repository("a/b");
  options.directory = "/nonexistent/never";
  options.endpoint = endpoint;
  options.token = token;
  Impatient observer;
  auto result = pull(options, observer);
  return {std::move(result), observer.notes};
}

}  // namespace

TEST_CASE("a token does not travel in the clear") {
  for (const char* endpoint :
       {"http://hub.invalid", "http://127.0.0.1.hub.invalid:80/", "http://localhost.invalid"}) {
    INFO(endpoint);
    const auto [result, notes] = ask(endpoint, "hf_secret");
    REQUIRE_FALSE(result);
    CHECK(notes.find("not encrypted") != std::string::npos);
    CHECK(notes.find("hf_secret") == std::string::npos);
  }
  for (const char* endpoint :
       {"https://hub.invalid", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"})
    CHECK(ask(endpoint, "hf_secret").notes.find("not encrypted") == std::string::npos);
}

TEST_CASE("endpoints and tokens that cannot be are named, and the token is not shown") {
  for (const char* endpoint : {"", "hub.invalid", "ftp://hub.invalid", "https://user@hub.invalid",
                               "https://hub.invalid/?x", "https://"}) {
    INFO(endpoint);
    const auto [result, notes] = ask(endpoint, "");
    REQUIRE_FALSE(result);
    CHECK(result.error().field == "--endpoint");
  }
  const auto [result, notes] = ask("https://hub.invalid", "hf_secret\r\nX: y");
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::invalid_argument);
  CHECK(result.error().message.find("secret") == std::string::npos);
}

}  // namespace baton::hub::test
