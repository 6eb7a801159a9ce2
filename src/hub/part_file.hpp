// A file on its way: DIR/.baton-pull/<name>.<hash>.part. Its name holds the hash of what it becomes, so what
// an earlier pull left can go on whatever has happened to the revision since.
//
// Invariant: the hasher has seen exactly the bytes [0, offset) and they are in the file.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "hub/files.hpp"
#include "hub/http.hpp"
#include "hub/listing.hpp"

namespace baton::hub {

class PartFile final : public Receiver {
 public:
  PartFile(const std::filesystem::path& state_folder, RemoteFile file);

  // Reads again what an earlier pull left.
  Result<void> resume(const ReadProgress& progress);
  bool whole() const { return whole_; }  // all bytes, with the right hash, on the disk
  std::uint64_t resumed_at() const { return resumed_at_; }
  const std::filesystem::path& path() const { return path_; }
  const RemoteFile& file() const { return file_; }
  std::function<void(const PartFile&)> on_whole;
  std::function<void(const std::string&)> note;

  std::uint64_t offset() const override { return offset_; }
  Result<void> begin(std::uint64_t at) override;
  Result<void> take(std::string_view bytes) override;
  Result<bool> complete() override;

 private:
  Result<void> open();
  Result<void> start_over();
  Result<bool> verify();

  const RemoteFile file_;
  const std::filesystem::path path_;
  Descriptor out_;
  std::optional<Hasher> hasher_;
  std::uint64_t offset_ = 0;
  std::uint64_t resumed_at_ = 0;
  std::uint64_t flushed_ = 0;  // bytes that the kernel was told to write
  int damaged_ = 0;            // times that all bytes had come and were wrong
  bool whole_ = false;
};

// The part's file name in the state folder.
std::string part_name(const RemoteFile& file);

}  // namespace baton::hub
