#include "hub/target.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "baton/base/units.hpp"

namespace baton::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kLock = "lock";
constexpr const char* kConfig = "config.json";

std::optional<Manifest> load_manifest(const fs::path& directory) {
  std::ifstream in(directory / kStateFolder / kManifest, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  auto manifest = parse_manifest(text.view());
  return manifest ? std::optional(*std::move(manifest)) : std::nullopt;
}

Result<void> make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder, error))
    return make_error(ErrorCode::io, "cannot make the directory " + folder.string() +
                                         (error ? ": " + error.message() : ": something else is there"));
  return {};
}

bool vouches_for(const std::optional<Manifest>& manifest, const RemoteFile& file, const FileStamp& stamp) {
  if (!manifest) return false;
  const auto known = manifest->files.find(file.path);
  return known != manifest->files.end() && known->second.digest == file.digest &&
         known->second.stamp == stamp;
}

}  // namespace

Result<Target> Target::open(const fs::path& directory, const Repository& repository) {
  Target target(directory, repository);
  if (auto made = make_folders(target.state_folder()); !made) return made.error();
  if (auto locked = target.lock(); !locked) return locked.error();
  if (auto read = target.read_manifest(); !read) return read.error();
  return target;
}

FileState Target::look(const fs::path& directory, const RemoteFile& file) {
  if (const auto stamp = stamp_of(directory / file.path))
    return vouches_for(load_manifest(directory), file, *stamp) ? FileState::there : FileState::unknown;
  return stamp_of(directory / kStateFolder / part_name(file)) ? FileState::partial : FileState::wanted;
}

Result<void> Target::lock() {
  const fs::path path = state_folder() / kLock;
  lock_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!lock_) return system_error("open", path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK) return system_error("lock", path);
  return make_error(ErrorCode::overloaded, "another `baton pull` is writing to " + directory_.string());
}

Result<void> Target::read_manifest() {
  before_ = load_manifest(directory_);
  if (before_ && before_->repository != repository_.id())
    return make_error(ErrorCode::invalid_argument,
                      directory_.string() + " holds " + before_->repository + ": give another --to", "--to");
  if (before_) now_ = *before_;
  now_.repository = repository_.id();
  now_.revision = repository_.revision;
  return {};
}

std::uint64_t Target::bytes_to_read(const RemoteFile& file) const {
  const auto stamp = stamp_of(directory_ / file.path);
  if (!stamp) {
    const auto part = stamp_of(state_folder() / part_name(file));
    return part && part->size <= file.size ? part->size : 0;
  }
  return stamp->size != file.size || vouches_for(before_, file, *stamp) ? 0 : stamp->size;
}

Result<bool> Target::has(const RemoteFile& file, const ReadProgress& progress) {
  const fs::path path = directory_ / file.path;
  const auto stamp = stamp_of(path);
  std::error_code error;
  if (!stamp) {
    if (!fs::exists(fs::symlink_status(path, error))) return false;
    return make_error(ErrorCode::invalid_argument, path.string() + " is no regular file", "--to");
  }
  if (vouches_for(before_, file, *stamp)) return true;
  if (stamp->size == file.size) {
    auto hasher = Hasher::start(file.digest.kind, file.size);
    if (!hasher) return hasher.error();
    const auto read = hash_file(path, *hasher, progress);
    if (!read) return read.error();
    if (hasher->finish() == file.digest) {
      now_.files[file.path] = {file.digest, *stamp};
      return true;
    }
  }
  if (before_ && before_->files.contains(file.path)) return false;
  return make_error(ErrorCode::invalid_argument,
                    path.string() + " is another file than " + repository_.id() +
                        "'s, and no `baton pull` put it there: move it away or give another --to",
                    "--to");
}

Result<void> Target::has_room(std::uint64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(directory_.c_str(), &disk) != 0) return system_error("look at the disk of", directory_);
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (bytes <= free) return {};
  return make_error(ErrorCode::io, "not enough disk space in " + directory_.string() + ": " +
                                       format_size(bytes) + " are needed and " + format_size(free) +
                                       " are free");
}

Result<void> Target::move_into_place(const PartFile& part, PullObserver& observer) {
  const RemoteFile& file = part.file();
  const fs::path path = directory_ / file.path;
  if (auto made = make_folders(path.parent_path()); !made) return made;
  if (const auto old = stamp_of(path); old && before_) {
    const auto known = before_->files.find(file.path);
    if (known != before_->files.end() && known->second.stamp != *old)
      observer.note(file.path + " had been changed since it was pulled; it is now the repository's again");
  }
  if (::rename(part.path().c_str(), path.c_str()) != 0) return system_error("rename to", path);
  const auto stamp = stamp_of(path);
  if (!stamp) return system_error("look at", path);
  now_.files[file.path] = {file.digest, *stamp};
  changed_.insert(path.parent_path());
  return {};
}

void Target::remove_gone(const std::vector<RemoteFile>& listing, PullObserver& observer) {
  std::set<std::string> there;
  for (const RemoteFile& file : listing) there.insert(file.path);
  for (auto entry = now_.files.begin(); entry != now_.files.end();) {
    if (there.contains(entry->first)) {
      ++entry;
      continue;
    }
    const fs::path path = directory_ / entry->first;
    if (stamp_of(path) == entry->second.stamp && ::unlink(path.c_str()) == 0) {
      observer.note(entry->first + " is no longer in the repository; it was removed");
      changed_.insert(path.parent_path());
    }
    entry = now_.files.erase(entry);
  }
}

void Target::remove_parts() const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_folder(), error))
    if (entry.path().extension() == ".part") ::unlink(entry.path().c_str());
}

Result<void> Target::install(const std::vector<const PartFile*>& parts,
                             const std::vector<RemoteFile>& listing, const std::string& commit,
                             PullObserver& observer) {
  const auto is_config = [](const PartFile* part) { return part->file().path == kConfig; };
  for (const PartFile* part : parts)
    if (!is_config(part))
      if (auto moved = move_into_place(*part, observer); !moved) return moved;
  remove_gone(listing, observer);
  for (const PartFile* part : parts)
    if (is_config(part))
      if (auto moved = move_into_place(*part, observer); !moved) return moved;
  for (const fs::path& folder : changed_)
    if (auto synced = sync_folder(folder); !synced) return synced;
  now_.commit = commit;
  if (!before_ || now_ != *before_)
    if (auto written = replace_file(state_folder() / kManifest, to_json(now_)); !written) return written;
  remove_parts();
  return {};
}

}  // namespace baton::hub
