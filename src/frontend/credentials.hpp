// The files that decide who gets in and whom clients see: API keys, TLS certificate and key. Read at start,
// and again when they change.
//
// Invariant: a file that cannot be used never replaces one that could. Thread-safe; readers get what was
// current, and keep it as long as they like.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "baton/base/log.hpp"
#include "baton/base/result.hpp"
#include "baton/frontend/api_keys.hpp"

namespace baton::frontend {

struct TlsContext;

// Whether any of some files has changed since the last look, by what the file system says of them.
class WatchedFiles {
 public:
  explicit WatchedFiles(std::vector<std::string> names) : names_(std::move(names)) {}
  const std::string& name(std::size_t i) const { return names_[i]; }
  bool configured() const { return !names_.front().empty(); }
  // Before reading: what is written while we read is a change again.
  bool changed();

 private:
  struct Mark {
    ino_t inode = 0;
    off_t size = -1;
    timespec modified{};
  };
  std::vector<std::string> names_;
  std::vector<Mark> seen_;
};

class Credentials {
 public:
  // Empty names: no keys, no TLS.
  Credentials(const std::string& api_key_file, const std::string& certificate, const std::string& key,
              Logger& logger);

  Result<void> load();
  // Reads again what has changed, or everything. What is broken is logged, once, and left out.
  void reload(bool even_if_unchanged);

  std::shared_ptr<const ApiKeys> keys() const;  // null: none are asked for
  std::shared_ptr<TlsContext> tls() const;      // null: plain HTTP

 private:
  Result<void> load_keys();
  Result<void> load_tls();

  Logger& logger_;
  std::mutex loading_;  // one reload at a time
  WatchedFiles key_file_;
  WatchedFiles tls_files_;
  mutable std::mutex mutex_;             // for the two pointers
  std::shared_ptr<const ApiKeys> keys_;  // shared: a request may still be looking when it is replaced
  std::shared_ptr<TlsContext> tls_;      // shared: connections outlive a reload
};

}  // namespace baton::frontend
