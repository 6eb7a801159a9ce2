// Which of a repository's files are fetched: what Baton's loaders read and other tools expect beside it,
// plus --include, minus --exclude.
#pragma once

#include <string>
#include <vector>

#include "hub/listing.hpp"

namespace baton::hub {

struct Selection {
  std::vector<std::string> include;
  std::vector<std::string> exclude;
};

// Shell patterns over whole paths; * also matches slashes, and "folder/" is all below it.
bool matches_glob(const std::string& path, const std::string& glob);

// unsupported, with what is missing, where no model could be loaded from them and nothing was said about
// what to include or exclude.
Result<std::vector<RemoteFile>> select_files(const std::vector<RemoteFile>& files,
                                             const Selection& selection);

}  // namespace baton::hub
