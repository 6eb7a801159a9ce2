#include "app/serve_options.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <utility>

#include "app/config_file.hpp"
#include "support/catch.hpp"

namespace baton::test {
namespace {

// A value that it does not have by default, whatever kind of row it is.
void change(ConfigRow& row) {
  const auto before = row.get();
  for (const char* value : {"7.125s", "123%", "77", "4", "decode", "random", "avx2", "fp8", "auto", "off",
                            "on", "true", "debug", "json", "none", "KEY=a=b,c", "text with, comma"})
    if (row.set(value) && row.get() != before) return;
  FAIL(row.flag);
}

void apply(std::vector<ConfigRow>& rows, const std::string& given) {
  const std::size_t equals = given.find('=');
  const std::string flag = given.substr(0, equals);
  const auto row = std::ranges::find(rows, flag, &ConfigRow::flag);
  REQUIRE(row != rows.end());
  if (row->clear && !std::exchange(row->given, true)) row->clear();
  REQUIRE(row->set(equals == std::string::npos ? "true" : given.substr(equals + 1)));
}

ServeOptions read(const std::string& text, std::string& why) {
  char name[] = "/tmp/baton-options-XXXXXX";
  const int file = ::mkstemp(name);
  REQUIRE(file >= 0);
  ::close(file);
  std::ofstream(name) << text;
  ServeOptions options;
  std::vector<ConfigRow> rows = serve_rows(options);
  if (auto applied = apply_config_file(name, rows, {"ucx", &options.ucx}); !applied)
    why = applied.error().message;
  std::remove(name);
  return options;
}

}  // namespace

TEST_CASE("the flags of options make the same options again") {
  CHECK(serve_flags(ServeOptions{}).empty());
  ServeOptions options, same;
  std::vector<ConfigRow> rows = serve_rows(options), again = serve_rows(same);
  for (ConfigRow& row : rows) {
    if (row.clear) row.clear();
    change(row);
  }
  options.peers = {"a:1", "b:2"};
  options.ucx = {{"TLS", "rc_x,tcp"}, {"RNDV_THRESH", "0"}};
  options.drain_timeout = std::chrono::nanoseconds(1'001'000'000);
  for (const std::string& flag : serve_flags(options)) apply(again, flag);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    INFO(rows[i].flag);
    CHECK(again[i].get() == rows[i].get());
  }
  CHECK(same.drain_timeout == options.drain_timeout);
  CHECK(same.ucx == options.ucx);
}

TEST_CASE("devices and their roles in a file: lists, or text with commas") {
  std::string why;
  for (const char* text : {"[engine]\ndevices = [0, \"cpu\"]\nrole = [\"prefill\", \"decode\"]\n",
                           "[engine]\ndevices = \"0,cpu\"\nrole = \"prefill,decode\"\n"}) {
    const ServeOptions options = read(text, why);
    CHECK(why.empty());
    CHECK(options.devices == "0,cpu");
    CHECK(options.role == "prefill,decode");
  }
  CHECK(read("[engine]\nrole = \"decode\"\n", why).role == "decode");
  CHECK(why.empty());
  read("[engine]\nrole = [\"decode\", \"boss\"]\n", why);
  CHECK(why.find("boss") != std::string::npos);
}

TEST_CASE("several roles are for several devices") {
  ServeOptions options;
  options.role = "prefill,decode";
  const auto checked = check(options);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().field == "--role");
}

TEST_CASE("--device names the CPU, a GPU, or what there is") {
  const auto chosen = [](const char* text) {
    const auto choice = parse_device(text);
    REQUIRE(choice);
    return std::pair(choice->gpu, choice->fall_back);
  };
  CHECK(chosen("cpu") == std::pair(-1, false));
  CHECK(chosen("cuda") == std::pair(0, false));
  CHECK(chosen("cuda:0") == std::pair(0, false));
  CHECK(chosen("cuda:11") == std::pair(11, false));
  CHECK(chosen("auto") == std::pair(0, true));
  for (const char* text :
       {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:99999999999", "cuda:0,1", "CPU"}) {
    INFO(text);
    ServeOptions options;
    options.device = text;
    const auto checked = check(options);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().code == ErrorCode::invalid_argument);
    CHECK(checked.error().field == "--device");
  }
}

TEST_CASE("a GPU's blocks are powers of two") {
  ServeOptions options;
  options.block_size = 24;
  CHECK(check(options));
  options.device = "cuda:1";
  const auto checked = check(options);
  REQUIRE_FALSE(checked);
  CHECK(checked.error().field == "--block-size");
}

}  // namespace baton::test
