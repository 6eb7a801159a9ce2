// The safetensors format: an 8-byte little-endian length, a JSON header of that length, then the tensors'
// bytes. https://github.com/huggingface/safetensors
//
// What a header says is checked before anything is believed: its length (100 MB at most), its shape as JSON,
// duplicate names, sizes (shape times dtype), offsets inside the file, no two tensors sharing bytes. Holes
// between tensors are allowed. Errors name the file, and the tensor where there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"

namespace baton {

struct SafetensorsEntry {
  std::string name;
  std::string dtype_name;      // as in the file: "BF16"
  std::optional<DType> dtype;  // empty for a type that no weight of ours has, e.g. "I64"
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // from the start of the file
  std::uint64_t end = 0;
};

// The dtype of this name, where it is one that a weight may have.
std::optional<DType> weight_dtype(std::string_view safetensors_name);
std::string_view safetensors_dtype_name(DType dtype);
std::string shape_to_string(std::span<const std::int64_t> shape);  // "[2, 3]"

// `file` is the whole file; `file_name` is for messages. In order of `begin`.
Result<std::vector<SafetensorsEntry>> parse_safetensors(std::span<const std::byte> file,
                                                        const std::string& file_name);

}  // namespace baton
