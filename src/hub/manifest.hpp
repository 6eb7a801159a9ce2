// DIR/.baton-pull/manifest.json: what pull has put into a directory, so that it need not be hashed again.
//
// A file whose size and time are still those of the manifest has the manifest's hash. Ours, but read as if it
// were not: a damaged manifest is as good as none, and then files are read.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"
#include "hub/files.hpp"

namespace baton::hub {

struct Installed {
  Digest digest;
  FileStamp stamp;
  bool operator==(const Installed&) const = default;
};

struct Manifest {
  std::string repository;  // ORG/NAME
  std::string revision;
  std::string commit;
  std::map<std::string, Installed> files;  // by path
  bool operator==(const Manifest&) const = default;
};

Result<Manifest> parse_manifest(std::string_view json);
std::string to_json(const Manifest& manifest);

}  // namespace baton::hub
