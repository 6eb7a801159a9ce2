#include "hub/digest.hpp"

#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

std::string hash(DigestKind kind, std::string_view text, std::size_t piece) {
  auto hasher = Hasher::start(kind, text.size());
  REQUIRE(hasher);
  for (std::size_t at = 0; at < text.size(); at += piece) hasher->update(text.substr(at, piece));
  return hasher->finish().text();
}

}  // namespace

TEST_CASE("SHA-256 of FIPS 180's examples, in any pieces") {
  const std::string_view text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  for (const std::size_t piece : {1U, 7U, 64U})
    CHECK(hash(DigestKind::sha256, text, piece) ==
          "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hash(DigestKind::sha256, "", 1) ==
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("git's blob ids, as git hash-object gives them") {
  CHECK(hash(DigestKind::git_sha1, "", 1) == "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  for (const std::size_t piece : {1U, 3U, 64U})
    CHECK(hash(DigestKind::git_sha1, "hello\n", piece) ==
          "git-sha1:ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST_CASE("digests as text, and back") {
  for (const std::string text : {"git-sha1:ce013625030ba8dba906f756967f9e9ca394464a",
                                 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}) {
    const auto digest = parse_digest(text);
    REQUIRE(digest);
    CHECK(digest->text() == text);
  }
  for (const char* text : {"", "sha256:", "ce013625030ba8dba906f756967f9e9ca394464a",
                           "sha256:ce013625030ba8dba906f756967f9e9ca394464a",
                           "git-sha1:CE013625030BA8DBA906F756967F9E9CA394464A",
                           "git-sha1:ce013625030ba8dba906f756967f9e9ca394464"})
    CHECK_FALSE(parse_digest(text));
}

}  // namespace baton::hub::test
