// Checkpoint: the tensors of a Hugging Face directory by the names that a language model alone has:
// model.safetensors, or model.safetensors.index.json and its shards, mapped into memory.
//
// Every tensor's bytes have been checked to lie inside its file (safetensors.hpp). Views stay valid as long
// as the Checkpoint lives.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/tensor/ops.hpp"
#include "model/mapped_file.hpp"
#include "model/safetensors.hpp"

namespace baton {

class Checkpoint {
 public:
  struct TensorRef {
    SafetensorsEntry entry;
    std::size_t file = 0;  // into files_
  };

  static Result<Checkpoint> open(const std::filesystem::path& directory);
  static Result<Checkpoint> open_file(const std::filesystem::path& path);  // an adapter's

  // A float tensor of exactly this shape. Errors name the tensor, and what was expected and found.
  Result<WeightView> matrix(const std::string& name, std::int64_t out, std::int64_t in) const;
  Result<WeightView> vector(const std::string& name, std::int64_t size) const;  // out = 1, in = size

  std::span<const std::byte> bytes(const TensorRef& tensor) const;
  const TensorRef* find(const std::string& name) const;  // nullptr where there is none
  std::size_t size() const { return tensors_.size(); }
  std::vector<std::string> names() const;  // in alphabetical order

 private:
  struct File {
    std::string name;
    MappedFile mapping;
  };

  Result<void> open_single(const std::filesystem::path& path);
  void name_language_model();
  void name_as_usual();
  Result<void> open_sharded(const std::filesystem::path& directory, std::span<const std::byte> index);
  Result<std::vector<SafetensorsEntry>> add_file(const std::filesystem::path& path);
  Result<WeightView> view(const std::string& name, std::span<const std::int64_t> shape) const;

  std::vector<File> files_;
  std::map<std::string, TensorRef> tensors_;
};

}  // namespace baton
