#include "hub/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace baton::hub {

namespace fs = std::filesystem;

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    std::swap(fd_, other.fd_);
  }
  return *this;
}

void Descriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Error system_error(const std::string& what, const fs::path& path) {
  return make_error(ErrorCode::io, "cannot " + what + " " + path.string() + ": " + std::strerror(errno));
}

std::optional<FileStamp> stamp_of(const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileStamp{static_cast<std::uint64_t>(status.st_size),
                   static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

Result<std::uint64_t> hash_file(const fs::path& file, Hasher& hasher, const ReadProgress& progress) {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return system_error("read", file);
  ::posix_fadvise(in.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  std::vector<char> buffer(1U << 20);
  std::uint64_t total = 0;
  while (true) {
    const ssize_t got = ::read(in.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", file);
    if (got == 0) return total;
    hasher.update({buffer.data(), static_cast<std::size_t>(got)});
    total += static_cast<std::uint64_t>(got);
    if (progress && !progress(static_cast<std::uint64_t>(got)))
      return make_error(ErrorCode::cancelled, "interrupted");
  }
}

Result<void> write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> sync_folder(const fs::path& folder) {
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) return system_error("sync", folder);
  return {};
}

Result<void> replace_file(const fs::path& file, std::string_view content) {
  const fs::path fresh = file.string() + ".new";
  Descriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!out) return system_error("write", fresh);
  if (auto written = write_all(out.get(), content, fresh); !written) return written;
  if (::fsync(out.get()) != 0) return system_error("sync", fresh);
  out.close();
  if (::rename(fresh.c_str(), file.c_str()) != 0) return system_error("rename", fresh);
  return sync_folder(file.parent_path());
}

}  // namespace baton::hub
