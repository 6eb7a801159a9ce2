// KvSpec: what a model caches of each token, and where.
#pragma once

#include <cstdint>
#include <vector>

#include "baton/tensor/tensor.hpp"

namespace baton {

struct KvSpec {
  KvLayout layout;
  std::vector<KvPlace> places;  // of each layer
};

// So many layers without a window, and so many with one of so many positions, in groups of equally many
// layers: as many as leave no room to spare in groups without a window, and little in the others. `layout`
// has everything but the layers and groups.
KvLayout group_layers(KvLayout layout, std::int32_t full, std::int32_t windowed, std::int32_t window);
// The same of `layers` of which those in `windowed` (ascending) have one, and where each of them is.
KvSpec place_layers(const KvLayout& layout, std::int32_t layers, const std::vector<std::int32_t>& windowed,
                    std::int32_t window);

}  // namespace baton
