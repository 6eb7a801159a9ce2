// The little that pull does with files, as Results: descriptors that close themselves, reading with a hash,
// writes that reach the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"
#include "hub/digest.hpp"

namespace baton::hub {

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void close();

 private:
  int fd_;
};

// io: what, where and the system's reason, of errno.
Error system_error(const std::string& what, const std::filesystem::path& path);

struct FileStamp {
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  // since 1970
  bool operator==(const FileStamp&) const = default;
};
// Of a regular file; nothing where there is none.
std::optional<FileStamp> stamp_of(const std::filesystem::path& file);

// Told how many bytes more were read; false ends the reading.
using ReadProgress = std::function<bool(std::uint64_t)>;
// Feeds the whole file to the hasher and gives its size; cancelled where `progress` says so.
Result<std::uint64_t> hash_file(const std::filesystem::path& file, Hasher& hasher,
                                const ReadProgress& progress);

Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& path);
Result<void> sync_folder(const std::filesystem::path& folder);
// Whole or not at all, and on the disk.
Result<void> replace_file(const std::filesystem::path& file, std::string_view content);

}  // namespace baton::hub
