// pull: brings a model repository's files into a directory, by commit, verified, and resumable.
//
// The directory changes only when every file has arrived and has its hash: until then all bytes lie in
// DIR/.baton-pull, from where the next pull goes on. That folder also keeps a manifest (commit, hashes, sizes
// and times), so that what is there is not read again, and a lock: one pull at a time. Files that no pull
// has put there are never replaced.
//
// One thread, the caller's. Every wait is bounded; the observer is asked at least every 200 ms while the
// network is waited for, and for each MiB of a file that is read again, whether to go on.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/hub/repository.hpp"

namespace baton::hub {

struct PullOptions {
  Repository repository;
  std::filesystem::path directory;
  std::string endpoint = "https://huggingface.co";
  std::string token = {};  // empty: none. Goes to the endpoint's scheme, host and port, and nowhere else.
  std::string user_agent = "baton";
  std::int32_t jobs = 4;                  // files at once
  std::vector<std::string> include = {};  // globs: what is fetched beside what Baton reads
  std::vector<std::string> exclude = {};  // globs: what is not fetched, whatever else is said
  bool dry_run = false;                   // ask and plan, write nothing
  Duration connect_timeout = std::chrono::seconds(20);
  Duration stall_timeout = std::chrono::seconds(30);  // a transfer this long without bytes is broken
};

enum class FileState : std::uint8_t {
  wanted,   // is not there
  partial,  // begun by an earlier pull
  unknown,  // a file is there, but no manifest says which (dry runs only; others read it)
  there,    // with the right content
};

struct PulledFile {
  std::string path;  // below the directory
  std::uint64_t size = 0;
  std::string hash;  // "sha256:..." or "git-sha1:...", in hex
  FileState state = FileState::wanted;
};

struct PullReport {
  std::string commit;
  std::vector<PulledFile> files;
  std::uint64_t bytes = 0;    // of all files
  std::uint64_t fetched = 0;  // bytes that were (dry run: would be) transferred
};

class PullObserver {
 public:
  virtual ~PullObserver() = default;
  virtual bool keep_going() { return true; }  // false: pull ends with `cancelled`, parts stay
  virtual void planned(const PullReport&) {}  // before the first file is fetched
  virtual void progress(std::uint64_t /*done*/, std::uint64_t /*total*/) {}  // bytes
  virtual void checked(std::uint64_t /*done*/, std::uint64_t /*total*/) {}   // bytes on disk, read again
  virtual void fetched(const PulledFile&, std::uint64_t /*resumed_at*/) {}
  virtual void note(const std::string&) {}  // a retry, a file that was replaced
};

// Errors: invalid_argument (options), not_found (repository or revision), unauthenticated (a token is
// needed), unsupported (no model that Baton reads), unavailable (the network, after retries), corrupt
// (content or listing), io (disk), overloaded (another pull has the directory), cancelled.
Result<PullReport> pull(const PullOptions& options, PullObserver& observer);

}  // namespace baton::hub
