// Names of model repositories on a Hugging Face Hub: ORG/NAME, and @REVISION where it is not main.
//
// What is accepted here is safe to put into a URL (after percent_encode) and into a path below a directory.
#pragma once

#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::hub {

struct Repository {
  std::string organisation;
  std::string name;
  std::string revision = "main";  // a branch, a tag, refs/pr/N or a commit

  std::string id() const { return organisation + "/" + name; }
  std::string text() const { return revision == "main" ? id() : id() + "@" + revision; }
};

// invalid_argument says what is wrong with it.
Result<Repository> parse_repository(std::string_view text);

// RFC 3986: everything but unreserved characters, and slashes where they stay.
std::string percent_encode(std::string_view text, bool keep_slashes);
// A path or revision as one file name: other paths have other names.
std::string flat_name(std::string_view path);

}  // namespace baton::hub
