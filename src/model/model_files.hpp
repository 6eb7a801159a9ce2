// What a model is loaded from: views of what load_model has opened.
#pragma once

#include <span>

#include "baton/model/config.hpp"
#include "model/adapter.hpp"
#include "model/checkpoint.hpp"

namespace baton {

struct ModelFiles {
  const ModelConfig& config;
  const Checkpoint& checkpoint;
  std::span<const Adapter> adapters;
};

}  // namespace baton
