// Names of element types and KV layouts.
#include "baton/tensor/tensor.hpp"

namespace baton {

std::string_view to_string(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::e4m3:
      return "e4m3";
  }
  return "unknown";
}

std::string KvLayout::id() const {
  std::string text = "bl2ht/";
  text += to_string(dtype);
  text += "/l" + std::to_string(layers) + "/h" + std::to_string(kv_heads) + "/d" + std::to_string(head_dim) +
          "/b" + std::to_string(block_size);
  return text;
}

}  // namespace baton
