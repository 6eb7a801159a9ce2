#include "baton/model/kv_spec.hpp"

#include <algorithm>

namespace baton {
namespace {

constexpr std::int32_t kSpared = 8;  // one layer in so many of the windowed groups may be room to spare

std::int32_t groups_of(std::int32_t layers, std::int32_t size) { return (layers + size - 1) / size; }

// Whole groups without a window: their room grows with the text.
std::int32_t layers_of_a_block(std::int32_t full, std::int32_t windowed) {
  if (full == 0 || windowed == 0) return full + windowed;
  std::int32_t size = std::min(full, windowed);
  const auto suits = [&] {
    return full % size == 0 && (groups_of(windowed, size) * size - windowed) * kSpared <= windowed;
  };
  while (!suits()) --size;
  return size;
}

}  // namespace

KvLayout group_layers(KvLayout layout, std::int32_t full, std::int32_t windowed, std::int32_t window) {
  layout.layers = std::max(layers_of_a_block(full, windowed), 1);
  layout.groups = {full / layout.layers, groups_of(windowed, layout.layers), windowed > 0 ? window : 0};
  if (full + windowed == 0) layout.groups = {};
  return layout;
}

KvSpec place_layers(const KvLayout& layout, std::int32_t layers, const std::vector<std::int32_t>& windowed,
                    std::int32_t window) {
  const auto passing = static_cast<std::int32_t>(windowed.size());
  KvSpec spec{group_layers(layout, layers - passing, passing, window), {}};
  const std::int32_t size = spec.layout.layers;
  std::int32_t seen[2] = {};  // layers without and with a window
  for (std::int32_t layer = 0; layer < layers; ++layer) {
    const bool has_window = std::ranges::binary_search(windowed, layer);
    const std::int32_t index = seen[has_window]++;
    spec.places.emplace_back(index % size, index / size + (has_window ? spec.layout.groups.full : 0));
  }
  return spec;
}

}  // namespace baton
