// What a Hub's API answers, parsed: the commit behind a revision, and the pages of a repository's files.
//
// The answers come from outside: a path that could leave the directory that files go to makes the whole page
// an error (corrupt), so that no later code meets one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "hub/digest.hpp"

namespace baton::hub {

constexpr std::size_t kMostAnswerBytes = 16U << 20;  // of one answer
constexpr const char* kStateFolder = ".baton-pull";  // pull's own, in the directory; no file may lie there

struct RemoteFile {
  std::string path;  // relative; check_path holds
  std::uint64_t size = 0;
  Digest digest;
};

// GET /api/models/ORG/NAME/revision/REVISION: its `sha`, 40 hex digits.
Result<std::string> parse_commit(std::string_view json);
// GET /api/models/ORG/NAME/tree/COMMIT?recursive=true: one page, without its folders.
Result<std::vector<RemoteFile>> parse_tree_page(std::string_view json);
// The URL with rel="next" in a Link header (RFC 8288).
std::optional<std::string> next_page(std::string_view link_header);

// corrupt unless `path` stays below the directory that it is appended to: no absolute path, no empty part,
// no "." or "..", no backslash, no control character, not in kStateFolder.
Result<void> check_path(std::string_view path);

}  // namespace baton::hub
