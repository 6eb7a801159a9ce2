// The directory that a model is pulled into: its lock, its manifest, what lies there, and the moment in which
// everything that has arrived moves into place.
//
// Invariant: outside DIR/.baton-pull nothing changes before install(). A file that no manifest knows is never
// replaced.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "baton/hub/pull.hpp"
#include "hub/files.hpp"
#include "hub/listing.hpp"
#include "hub/manifest.hpp"
#include "hub/part_file.hpp"

namespace baton::hub {

class Target {
 public:
  // Makes the directory and takes its lock. overloaded: another pull has it; invalid_argument: it holds
  // another repository.
  static Result<Target> open(const std::filesystem::path& directory, const Repository& repository);
  // What a dry run may know: nothing is made, locked or read but the manifest.
  static FileState look(const std::filesystem::path& directory, const RemoteFile& file);

  // True where the file is there with the right content; reads it where the manifest does not vouch for it.
  // invalid_argument where it would have to be replaced and is not ours.
  Result<bool> has(const RemoteFile& file, const ReadProgress& progress);
  // Bytes that has() would read.
  std::uint64_t bytes_to_read(const RemoteFile& file) const;
  // io where `bytes` more do not fit on the disk.
  Result<void> has_room(std::uint64_t bytes) const;
  std::filesystem::path state_folder() const { return directory_ / kStateFolder; }

  // Moves what has arrived into place (config.json last: then it is a model), removes what earlier pulls put
  // here and `listing`, the repository's whole list, no longer has, and writes the manifest.
  Result<void> install(const std::vector<const PartFile*>& parts, const std::vector<RemoteFile>& listing,
                       const std::string& commit, PullObserver& observer);

 private:
  Target(std::filesystem::path directory, const Repository& repository)
      : directory_(std::move(directory)), repository_(repository) {}
  Result<void> lock();
  Result<void> read_manifest();
  Result<void> move_into_place(const PartFile& part, PullObserver& observer);
  void remove_gone(const std::vector<RemoteFile>& listing, PullObserver& observer);
  void remove_parts() const;

  std::filesystem::path directory_;
  Repository repository_;
  Descriptor lock_;
  std::optional<Manifest> before_;
  std::set<std::filesystem::path> changed_;  // folders to sync
  Manifest now_;
};

}  // namespace baton::hub
