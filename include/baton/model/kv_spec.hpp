// KvSpec: which layers cache how much per token. Llama is the one-group case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "baton/tensor/tensor.hpp"

namespace baton {

struct KvSpec {
  struct Group {
    std::int32_t first_layer = 0;
    std::int32_t layers = 0;
    std::int32_t window = 0;  // the last tokens, which alone are kept; 0: all are, whatever attention sees
    std::size_t bytes_per_token = 0;
    bool head_sliceable = true;
  };
  std::vector<Group> groups;
  KvLayout layout;  // of the (only) group
};

}  // namespace baton
