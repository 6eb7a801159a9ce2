// LoRA adapters (arXiv 2106.09685): what is loaded beside a model, and what is there then.
#pragma once

#include <filesystem>
#include <string>

#include "baton/base/hash.hpp"

namespace baton {

// The name that requests call it by, and PEFT's directory.
struct AdapterSource {
  std::string name;
  std::filesystem::path directory;
};

// A loaded adapter. Equal fingerprints mean that they add the same to the model.
struct AdapterInfo {
  std::string name;
  Hash128 fingerprint;
};

}  // namespace baton
