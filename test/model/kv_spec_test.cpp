// How a model's layers are shared out over groups of KV blocks.
#include "baton/model/kv_spec.hpp"

#include <set>

#include "support/catch.hpp"

namespace baton {
namespace {

// Every n-th layer sees everything.
std::vector<std::int32_t> all_but_every(std::int32_t n, std::int32_t layers) {
  std::vector<std::int32_t> windowed;
  for (std::int32_t layer = 0; layer < layers; ++layer)
    if ((layer + 1) % n != 0) windowed.push_back(layer);
  return windowed;
}

KvSpec place(std::int32_t layers, const std::vector<std::int32_t>& windowed, std::int32_t window) {
  return place_layers({DType::bf16, 0, 4, 64, 16}, layers, windowed, window);
}

// Each layer has a place of its own, in a group of its kind.
void check_places(const KvSpec& spec, std::int32_t layers, const std::vector<std::int32_t>& windowed) {
  REQUIRE(spec.places.size() == static_cast<std::size_t>(layers));
  std::set<std::pair<std::int32_t, std::int32_t>> taken;
  for (std::int32_t layer = 0; layer < layers; ++layer) {
    const KvPlace at = spec.places[static_cast<std::size_t>(layer)];
    CHECK(taken.emplace(at.group, at.layer).second);
    CHECK((at.layer >= 0 && at.layer < spec.layout.layers));
    const bool has_window = std::ranges::binary_search(windowed, layer);
    CHECK((at.group >= spec.layout.groups.full) == has_window);
    CHECK(at.group < spec.layout.groups.count());
  }
}

}  // namespace

TEST_CASE("layers of one kind are one group, whose blocks are of all of them") {
  for (const bool has_window : {false, true}) {
    std::vector<std::int32_t> windowed;
    for (std::int32_t layer = 0; has_window && layer < 32; ++layer) windowed.push_back(layer);
    const KvSpec spec = place(32, windowed, has_window ? 4096 : 0);
    CHECK(spec.layout.layers == 32);
    CHECK(spec.layout.groups == (has_window ? KvGroups{0, 1, 4096} : KvGroups{}));
    check_places(spec, 32, windowed);
    CHECK(spec.places[7] == KvPlace(7));
  }
}

TEST_CASE("layers of two kinds are groups of equally many, without room to spare where all tokens are kept") {
  struct Case {
    const char* model;
    std::int32_t layers;
    std::vector<std::int32_t> windowed;
    std::int32_t of_a_block;
    KvGroups groups;
  };
  std::vector<std::int32_t> upper;
  for (std::int32_t layer = 21; layer < 28; ++layer) upper.push_back(layer);
  for (const Case& c : {Case{"gpt-oss 20b", 24, all_but_every(2, 24), 12, {1, 1, 128}},
                        Case{"Gemma 3 1B", 26, all_but_every(6, 26), 4, {1, 6, 512}},
                        Case{"Gemma 3 4B", 34, all_but_every(6, 34), 5, {1, 6, 1024}},
                        Case{"Gemma 3 12B", 48, all_but_every(6, 48), 8, {1, 5, 1024}},
                        Case{"Gemma 3 27B", 62, all_but_every(6, 62), 5, {2, 11, 1024}},
                        Case{"Qwen 2 with windows above", 28, upper, 7, {3, 1, 4096}}}) {
    INFO(c.model);
    const KvSpec spec = place(c.layers, c.windowed, c.groups.window);
    CHECK(spec.layout.layers == c.of_a_block);
    CHECK(spec.layout.groups == c.groups);
    check_places(spec, c.layers, c.windowed);
  }
  for (std::int32_t full = 1; full < 40; ++full) {
    for (std::int32_t passing = 1; passing < 40; ++passing) {
      const KvLayout layout = group_layers({DType::bf16, 0, 4, 64, 16}, full, passing, 100);
      CHECK(layout.layers * layout.groups.full == full);
      const std::int32_t room = layout.layers * layout.groups.windowed;
      CHECK(room >= passing);
      CHECK((room - passing) * 8 <= passing);
    }
  }
}

}  // namespace baton
