#include "app/serve_options.hpp"

#include "support/catch.hpp"

namespace baton::test {

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
