#include "hub/listing.hpp"

#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

const std::string kSha1(40, 'a'), kSha256(64, 'b');

std::string file(const std::string& path, const std::string& rest) {
  return R"({"type": "file", "path": ")" + path + R"(", )" + rest + "}";
}
std::string small(const std::string& path) { return file(path, R"("size": 5, "oid": ")" + kSha1 + '"'); }

void refuses(const std::string& json, const std::string& word) {
  INFO(json);
  const auto page = parse_tree_page(json);
  REQUIRE_FALSE(page);
  CHECK(page.error().code == ErrorCode::corrupt);
  CHECK(page.error().message.find(word) != std::string::npos);
}

}  // namespace

TEST_CASE("a page of files: git's hash of small ones, SHA-256 of large ones, no folders") {
  const auto page = parse_tree_page(
      "[" + small("config.json") + R"(, {"type": "directory", "path": "original", "oid": "x"}, )" +
      file("model.safetensors", R"("size": 134, "oid": ")" + kSha1 + R"(", "lfs": {"oid": ")" + kSha256 +
                                    R"(", "size": 123456789012, "pointerSize": 134}, "xetHash": "x")") +
      "," +
      file("old.bin", R"("size": 1, "oid": "", "lfs": {"oid": "sha256:)" + kSha256 + R"(", "size": 7})") +
      "]");
  REQUIRE(page);
  REQUIRE(page->size() == 3);
  CHECK((*page)[0].path == "config.json");
  CHECK((*page)[0].size == 5);
  CHECK((*page)[0].digest == Digest{DigestKind::git_sha1, kSha1});
  CHECK((*page)[1].size == 123456789012);
  CHECK((*page)[1].digest == Digest{DigestKind::sha256, kSha256});
  CHECK((*page)[2].digest == Digest{DigestKind::sha256, kSha256});
  CHECK(parse_tree_page("[]")->empty());
}

TEST_CASE("a page that is wrong says where") {
  refuses("", "not JSON");
  refuses("<html>", "not JSON");
  refuses("[", "not JSON");
  refuses("{}", "array");
  refuses("[1]", "object");
  refuses("[" + file("a", R"("size": -1, "oid": ")" + kSha1 + '"') + "]", "size of 'a'");
  refuses("[" + file("a", R"("size": 1.5, "oid": ")" + kSha1 + '"') + "]", "size of 'a'");
  refuses("[" + file("a", R"("size": 18446744073709551615, "oid": ")" + kSha1 + '"') + "]", "size of 'a'");
  refuses("[" + file("a", R"("oid": ")" + kSha1 + '"') + "]", "size of 'a'");
  refuses("[" + file("a", R"("size": 1, "oid": "main")") + "]", "hash of 'a'");
  refuses("[" + file("a", R"("size": 1, "oid": ")" + kSha1 + R"(", "lfs": 1)") + "]", "'lfs' of 'a'");
  refuses(
      "[" +
          file("a", R"("size": 1, "oid": ")" + kSha1 + R"(", "lfs": {"size": 1, "oid": ")" + kSha1 + "\"}") +
          "]",
      "hash of 'a'");
  refuses(R"([{"type": "file", "size": 1}])", "no path");
  refuses(std::string(1000, '['), "deep");
  refuses(std::string(kMostAnswerBytes + 1, ' '), "16 MiB");
}

TEST_CASE("a path that could leave the directory spoils its page") {
  for (const char* path :
       {"/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "a//b", "a/", "./a", "a/./b", R"(a\\b)",
        R"(..\\x)", R"(a\u0000b)", R"(a\nb)", R"(\u001b[2J)", ".baton-pull/manifest.json", ".baton-pull"}) {
    INFO(path);
    const auto page = parse_tree_page("[" + small("config.json") + "," + small(path) + "]");
    REQUIRE_FALSE(page);
    CHECK(page.error().code == ErrorCode::corrupt);
    CHECK(page.error().message.find("path") != std::string::npos);
    for (const char c : page.error().message) CHECK(static_cast<unsigned char>(c) >= ' ');
  }
  for (const char* path : {"config.json", "original/params.json", "..a", "a..", ".gitattributes", "a/.b",
                           "a b", "\xc3\xa4.txt", ".baton-pulled"})
    CHECK(check_path(path));
  CHECK_FALSE(check_path(std::string(1025, 'x')));
}

TEST_CASE("the commit of a revision") {
  CHECK(*parse_commit(R"({"id": "a/b", "sha": ")" + kSha1 + "\"}") == kSha1);
  for (const char* json : {"{}", "[]", "x", R"({"sha": "main"})", R"({"sha": 1})", R"({"sha": "../../x"})"}) {
    const auto commit = parse_commit(json);
    REQUIRE_FALSE(commit);
    CHECK(commit.error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("the next page is what a Link header calls so") {
  const std::string url = "https://h/api/models/a/b/tree/c?cursor=x,y;z&limit=5";
  CHECK(next_page("<" + url + ">; rel=\"next\"") == url);
  CHECK(next_page("<" + url + ">;rel=next") == url);
  CHECK(next_page("</first>; rel=\"prev\", <" + url + ">; title=\"t\"; rel=\"next\"") == url);
  CHECK(next_page("<" + url + ">; rel=\"next\", </last>; rel=\"last\"") == url);
  for (const char* header :
       {"", "x", "<", "<a", ">", "<a>", "<a>; rel=\"prev\"", "<a>; rel=\"nextish\"", "><"})
    CHECK_FALSE(next_page(header));
}

}  // namespace baton::hub::test
