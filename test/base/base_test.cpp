#include <map>
#include <vector>

#include "baton/base/base64.hpp"
#include "baton/base/channel.hpp"
#include "baton/base/fault.hpp"
#include "baton/base/hash.hpp"
#include "baton/base/shared_text.hpp"
#include "baton/base/units.hpp"
#include "support/catch.hpp"

using namespace baton;

TEST_CASE("base64 in its one form (RFC 4648, 10)") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(encode_base64(bytes) == text);
    CHECK(decode_base64(text) == bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  CHECK(decode_base64(encode_base64(all)) == all);
  for (const char* wrong : {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Zg==Zg==", "Zm 8", "Zm-_"}) {
    INFO(wrong);
    CHECK_FALSE(decode_base64(wrong));
  }
}

TEST_CASE("sizes parse as people write them") {
  CHECK(*parse_size("512M", 0) == 512ULL << 20);
  CHECK(*parse_size("8G", 0) == 8ULL << 30);
  CHECK(*parse_size("8GiB", 0) == 8ULL << 30);
  CHECK(*parse_size("80%", 1000) == 800);
  CHECK(*parse_size("12", 0) == 12);
  for (const char* bad : {"", "G", "-1G", "101%", "0%", "1.2.3G", "5X", "99999999T"}) {
    INFO(bad);
    CHECK_FALSE(parse_size(bad, 1000));
  }
}

TEST_CASE("durations parse as people write them") {
  using namespace std::chrono_literals;
  CHECK(*parse_duration("250ms") == 250ms);
  CHECK(*parse_duration("2s") == 2s);
  CHECK(*parse_duration("1.5") == 1500ms);
  CHECK(*parse_duration("1001ms") == 1001ms);
  for (const char* bad : {"", "s", "-1s", "2 s", "1d", "999999h"}) {
    INFO(bad);
    CHECK_FALSE(parse_duration(bad));
  }
}

TEST_CASE("hashes depend on every byte and on the whole key") {
  const Hash128 plain = hash_string("block");
  CHECK(plain != hash_string("blocl"));
  CHECK(plain != hash_string("block", {1, 0}));
  CHECK(hash_string("block", {1, 0}) != hash_string("block", {0, 1}));
  CHECK(hash_string("block", {1, 2}) != hash_string("block", {2, 1}));
  CHECK(*hash_from_hex(to_hex(plain)) == plain);
  CHECK_FALSE(hash_from_hex("xyz"));
}

TEST_CASE("a channel is bounded, delivers in order and drains after close") {
  Channel<int> channel(2);
  CHECK(channel.try_push(1));
  CHECK(channel.try_push(2));
  CHECK_FALSE(channel.try_push(3));
  CHECK(channel.push_always(4));
  channel.close();
  CHECK_FALSE(channel.push_always(5));
  CHECK(channel.pop_all(Duration(0)) == std::vector<int>{1, 2, 4});
  CHECK(channel.pop_all(Duration(0)).empty());
}

TEST_CASE("a shared text is one for all copies, and changes for none of them") {
  const SharedText none, empty(std::string{}), text(std::string(1000, 'x'));
  CHECK(none.empty());
  CHECK(empty == none);
  CHECK(none.str().empty());
  SharedText copy = text;
  CHECK(copy.str().data() == text.str().data());
  CHECK(std::string_view(copy).size() == 1000);
  copy = "y";
  CHECK(text.size() == 1000);
  CHECK_FALSE(copy == text);
  CHECK(copy == SharedText("y"));  // another text that reads the same
  copy.clear();
  CHECK(copy == none);
}

TEST_CASE("fault points fire where and when they are told") {
  FaultPoints faults;
  CHECK(faults.hit("a") == FaultAction::none);
  REQUIRE(faults.configure("a=fail@2,b=corrupt"));
  CHECK(faults.hit("a") == FaultAction::none);
  CHECK(faults.hit("a") == FaultAction::fail);
  CHECK(faults.hit("a") == FaultAction::none);
  CHECK(faults.hit("b") == FaultAction::corrupt);
  CHECK(faults.hit("c") == FaultAction::none);

  // Shares are drawn from the seed, and a point may have several rules.
  REQUIRE(faults.configure("seed=7,a=drop%20,a=truncate%10"));
  std::map<FaultAction, int> count;
  std::vector<FaultAction> drawn;
  for (int i = 0; i < 1000; ++i) ++count[drawn.emplace_back(faults.hit("a"))];
  CHECK(count[FaultAction::drop] > 150);
  CHECK(count[FaultAction::drop] < 250);
  CHECK(count[FaultAction::truncate] > 40);
  CHECK(count[FaultAction::truncate] < 120);
  REQUIRE(faults.configure("seed=7,a=drop%20,a=truncate%10"));
  for (const FaultAction action : drawn) REQUIRE(faults.hit("a") == action);
  CHECK(!faults.configure("a=drop%101"));
  CHECK(!faults.configure("a=drop%x"));
  CHECK(!faults.configure("seed=x,a=drop"));
  for (const char* bad : {"a", "=fail", "a=explode", "a=fail@0", "a=hold:x"}) {
    INFO(bad);
    CHECK_FALSE(faults.configure(bad));
  }
}
