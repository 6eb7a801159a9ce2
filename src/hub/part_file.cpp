#include "hub/part_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "baton/hub/repository.hpp"

namespace baton::hub {
namespace {

constexpr std::uint64_t kFlushBytes = 64U << 20;  // so that the fsync at the end has little left to do
constexpr std::size_t kHashInName = 16;

}  // namespace

std::string part_name(const RemoteFile& file) {
  return flat_name(file.path) + "." + file.digest.hex.substr(0, kHashInName) + ".part";
}

PartFile::PartFile(const std::filesystem::path& state_folder, RemoteFile file)
    : file_(std::move(file)), path_(state_folder / part_name(file_)) {}

Result<void> PartFile::resume(const ReadProgress& progress) {
  auto hasher = Hasher::start(file_.digest.kind, file_.size);
  if (!hasher) return hasher.error();
  hasher_.emplace(*std::move(hasher));
  const auto stamp = stamp_of(path_);
  if (!stamp || stamp->size == 0) {
    if (file_.size > 0) return {};
    if (auto opened = open(); !opened) return opened;  // nothing to ask the server for
  } else if (stamp->size > file_.size) {
    return start_over();
  } else {
    const auto read = hash_file(path_, *hasher_, progress);
    if (!read) return read.error();
    offset_ = resumed_at_ = *read;
  }
  if (offset_ < file_.size) return {};
  const auto right = verify();  // all there: interrupted between the last byte and the end
  damaged_ = 0;                 // what was damaged here was not damaged on its way
  return right ? Result<void>() : right.error();
}

Result<void> PartFile::open() {
  out_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!out_) return system_error("write", path_);
  if (::ftruncate(out_.get(), static_cast<off_t>(offset_)) != 0) return system_error("shorten", path_);
  if (::lseek(out_.get(), static_cast<off_t>(offset_), SEEK_SET) < 0) return system_error("seek in", path_);
  return {};
}

Result<void> PartFile::start_over() {
  auto hasher = Hasher::start(file_.digest.kind, file_.size);
  if (!hasher) return hasher.error();
  hasher_.emplace(*std::move(hasher));
  offset_ = resumed_at_ = flushed_ = 0;
  return open();
}

Result<void> PartFile::begin(std::uint64_t at) {
  if (at != offset_) return start_over();
  return out_ ? Result<void>() : open();
}

Result<void> PartFile::take(std::string_view bytes) {
  if (bytes.size() > file_.size - offset_) {
    if (auto cleared = start_over(); !cleared) return cleared;
    return make_error(ErrorCode::corrupt, file_.path + ": more bytes came than the Hub's list says (" +
                                              std::to_string(file_.size) + ")");
  }
  if (auto written = write_all(out_.get(), bytes, path_); !written) return written;
  hasher_->update(bytes);
  offset_ += bytes.size();
  if (offset_ - flushed_ >= kFlushBytes) {
    ::sync_file_range(out_.get(), static_cast<off_t>(flushed_), static_cast<off_t>(offset_ - flushed_),
                      SYNC_FILE_RANGE_WRITE);
    flushed_ = offset_;
  }
  return {};
}

// All bytes are there. False: they were wrong for the first time, and it starts over.
Result<bool> PartFile::verify() {
  if (!out_) {
    if (auto opened = open(); !opened) return opened.error();
  }
  const Digest found = hasher_->finish();
  if (found != file_.digest) {
    const bool again = ++damaged_ < 2;
    const std::string what =
        file_.path + ": damaged: its hash is " + found.text() + " and should be " + file_.digest.text();
    if (auto cleared = start_over(); !cleared) return cleared.error();
    if (!again) return make_error(ErrorCode::corrupt, what + ", twice");
    if (note) note(what + "; it is fetched again");
    return false;
  }
  if (::fsync(out_.get()) != 0) return system_error("sync", path_);
  out_.close();
  whole_ = true;
  if (on_whole) on_whole(*this);
  return true;
}

Result<bool> PartFile::complete() {
  if (offset_ < file_.size) return false;
  return verify();
}

}  // namespace baton::hub
