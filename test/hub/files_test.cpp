// What lies on the disk: parts, manifest, the moment in which files move into place.
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "hub/manifest.hpp"
#include "hub/part_file.hpp"
#include "hub/target.hpp"
#include "support/catch.hpp"

namespace baton::hub::test {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              ("baton-hub-" + std::to_string(::getpid()) + "-" + std::to_string(++count_))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  static inline int count_ = 0;
  fs::path path_;
};

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

RemoteFile remote(const std::string& path, const std::string& content) {
  auto hasher = Hasher::start(DigestKind::sha256, content.size());
  hasher->update(content);
  return {path, content.size(), hasher->finish()};
}

const Repository kRepository = *parse_repository("a/b");
const std::string kCommit(40, 'c');

// A pull of these, without a network.
void pull_all(const fs::path& folder, const std::vector<std::pair<std::string, std::string>>& files,
              PullObserver& observer) {
  auto target = Target::open(folder, kRepository);
  REQUIRE(target);
  std::deque<PartFile> parts;
  std::vector<RemoteFile> listing;
  std::vector<const PartFile*> arrived;
  for (const auto& [path, content] : files) {
    listing.push_back(remote(path, content));
    const auto there = target->has(listing.back(), {});
    REQUIRE(there);
    if (*there) continue;
    PartFile& part = parts.emplace_back(target->state_folder(), listing.back());
    REQUIRE(part.resume({}));
    REQUIRE(part.begin(0));
    REQUIRE(part.take(content));
    REQUIRE(*part.complete());
    arrived.push_back(&part);
  }
  REQUIRE(target->install(arrived, listing, kCommit, observer));
}

struct Notes final : PullObserver {
  void note(const std::string& text) override { all.push_back(text); }
  std::vector<std::string> all;
};

}  // namespace

TEST_CASE("a part goes on where it was left, and is whole only with the right hash") {
  const Folder folder;
  const RemoteFile file = remote("x/model.safetensors", "abcdef");
  {
    PartFile part(folder.path(), file);
    REQUIRE(part.resume({}));
    REQUIRE(part.begin(0));
    REQUIRE(part.take("abc"));
    CHECK_FALSE(*part.complete());
    CHECK_FALSE(part.whole());
  }
  {
    PartFile part(folder.path(), file);
    REQUIRE(part.resume({}));
    CHECK(part.offset() == 3);
    CHECK(part.resumed_at() == 3);
    REQUIRE(part.begin(3));
    REQUIRE(part.take("def"));
    CHECK(*part.complete());
    CHECK(part.whole());
  }
  PartFile part(folder.path(), file);
  REQUIRE(part.resume({}));
  CHECK(part.whole());
  CHECK(read(part.path()) == "abcdef");
}

TEST_CASE("a damaged part starts over once, then it is an error") {
  const Folder folder;
  PartFile part(folder.path(), remote("x", "abcdef"));
  REQUIRE(part.resume({}));
  REQUIRE(part.begin(0));
  REQUIRE(part.take("abcdeX"));
  const auto first = part.complete();
  REQUIRE(first);
  CHECK_FALSE(*first);
  CHECK(part.offset() == 0);
  REQUIRE(part.begin(0));
  REQUIRE(part.take("abcdeX"));
  const auto second = part.complete();
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::corrupt);
  CHECK(fs::file_size(part.path()) == 0);
}

TEST_CASE("a part with damage from earlier, or too long, starts over") {
  for (const char* left : {"abcdeX", "abcdefg"}) {
    const Folder folder;
    const RemoteFile file = remote("x", "abcdef");
    write(folder.path() / part_name(file), left);
    PartFile part(folder.path(), file);
    REQUIRE(part.resume({}));
    CHECK(part.offset() == 0);
    REQUIRE(part.begin(0));
    REQUIRE(part.take("abcdef"));
    CHECK(*part.complete());
    CHECK(read(part.path()) == "abcdef");
  }
}

TEST_CASE("more bytes than the list says are not written") {
  const Folder folder;
  PartFile part(folder.path(), remote("x", "abc"));
  REQUIRE(part.resume({}));
  REQUIRE(part.begin(0));
  REQUIRE(part.take("ab"));
  const auto taken = part.take("cd");
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code == ErrorCode::corrupt);
  CHECK(fs::file_size(part.path()) == 0);
}

TEST_CASE("an empty file is whole without a request") {
  const Folder folder;
  PartFile part(folder.path(), remote("x", ""));
  REQUIRE(part.resume({}));
  CHECK(part.whole());
  CHECK(fs::exists(part.path()));
}

TEST_CASE("a manifest comes back as it was; damaged ones do not") {
  Manifest manifest{
      "a/b",
      "main",
      kCommit,
      {{"config.json", {{DigestKind::git_sha1, std::string(40, 'a')}, {7, 1234567890123456789}}}}};
  const std::string json = to_json(manifest);
  const auto parsed = parse_manifest(json);
  REQUIRE(parsed);
  CHECK(*parsed == manifest);
  manifest.files.emplace("../x", manifest.files.at("config.json"));
  for (const std::string& text : {std::string(), std::string("{}"), std::string("[1]"),
                                  json.substr(0, json.size() / 2), to_json(manifest)})
    CHECK_FALSE(parse_manifest(text));
}

TEST_CASE("files move into place together; what is there is known without reading") {
  const Folder folder;
  Notes notes;
  pull_all(folder.path(), {{"config.json", "{}"}, {"model.safetensors", "weights"}, {"sub/x", "x"}}, notes);
  CHECK(read(folder.path() / "config.json") == "{}");
  CHECK(read(folder.path() / "sub/x") == "x");
  for (const auto& entry : fs::directory_iterator(folder.path() / kStateFolder))
    CHECK(entry.path().extension() != ".part");
  auto target = Target::open(folder.path(), kRepository);
  REQUIRE(target);
  const ReadProgress never = [](std::uint64_t) { return false; };
  CHECK(*target->has(remote("model.safetensors", "weights"), never));
  CHECK(target->bytes_to_read(remote("model.safetensors", "weights")) == 0);
  CHECK(Target::look(folder.path(), remote("sub/x", "x")) == FileState::there);
  // Touched: read again. Another size: not ours any more.
  fs::last_write_time(folder.path() / "model.safetensors",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  CHECK(target->bytes_to_read(remote("model.safetensors", "weights")) == 7);
  CHECK_FALSE(target->has(remote("model.safetensors", "weights"), never));
  CHECK(*target->has(remote("model.safetensors", "weights"), {}));
  write(folder.path() / "model.safetensors", "weightX");
  CHECK_FALSE(*target->has(remote("model.safetensors", "weights"), {}));
}

TEST_CASE("one pull at a time") {
  const Folder folder;
  auto first = Target::open(folder.path(), kRepository);
  REQUIRE(first);
  const auto second = Target::open(folder.path(), kRepository);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::overloaded);
}

TEST_CASE("a directory with another repository, or with files of nobody's, is left alone") {
  const Folder folder;
  Notes notes;
  pull_all(folder.path(), {{"config.json", "{}"}}, notes);
  const auto other = Target::open(folder.path(), *parse_repository("a/other"));
  REQUIRE_FALSE(other);
  CHECK(other.error().message.find("a/b") != std::string::npos);
  write(folder.path() / "mine.json", "mine");
  auto target = Target::open(folder.path(), kRepository);
  REQUIRE(target);
  for (const char* content : {"theirs", "same"}) {
    const auto has = target->has(remote("mine.json", content), {});
    REQUIRE_FALSE(has);
    CHECK(has.error().code == ErrorCode::invalid_argument);
  }
  CHECK(*target->has(remote("mine.json", "mine"), {}));
  fs::create_directories(folder.path() / "folder");
  CHECK_FALSE(target->has(remote("folder", "x"), {}));
}

TEST_CASE("an update replaces what pull put there, and removes what the repository no longer has") {
  const Folder folder;
  Notes notes;
  pull_all(folder.path(),
           {{"config.json", "1"}, {"model.safetensors", "one"}, {"old.json", "old"}, {"edited.json", "old"}},
           notes);
  write(folder.path() / "mine.txt", "mine");
  write(folder.path() / "edited.json", "by hand");
  CHECK(notes.all.empty());
  pull_all(folder.path(), {{"config.json", "2"}, {"model-00001-of-00001.safetensors", "one"}}, notes);
  CHECK(read(folder.path() / "config.json") == "2");
  CHECK_FALSE(
      fs::exists(folder.path() / "model.safetensors"));  // or it would be loaded instead of the shards
  CHECK_FALSE(fs::exists(folder.path() / "old.json"));
  CHECK(read(folder.path() / "edited.json") == "by hand");
  CHECK(read(folder.path() / "mine.txt") == "mine");
  CHECK(notes.all.size() == 2);
}

TEST_CASE("too little disk space is said before anything is fetched") {
  const Folder folder;
  const auto target = Target::open(folder.path(), kRepository);
  REQUIRE(target);
  CHECK(target->has_room(1));
  const auto room = target->has_room(1ULL << 60);
  REQUIRE_FALSE(room);
  CHECK(room.error().code == ErrorCode::io);
  CHECK(room.error().message.find("1048576 TiB are needed") != std::string::npos);
}

}  // namespace baton::hub::test
