// MappedFile: a file's bytes, read-only, mapped into memory.
//
// A file that shrinks while it is mapped raises SIGBUS: whoever replaces a model under a running daemon must
// write a new file and rename it. That is out of scope here.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "baton/base/result.hpp"

namespace baton {

class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  // not_found where there is no such file; io names the file and the system's reason.
  static Result<MappedFile> open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace baton
