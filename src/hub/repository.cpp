#include "baton/hub/repository.hpp"

#include <algorithm>

namespace baton::hub {
namespace {

constexpr std::size_t kLongestName = 96;  // as the Hub has it, of organisation and name each
constexpr std::size_t kLongestRevision = 200;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

// The Hub's own rules, so that a slip of the keyboard is told here and no name is a path.
bool is_name(std::string_view name) {
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, is_word) &&
         !edge(name.front()) && !edge(name.back()) && name.find("..") == name.npos &&
         name.find("--") == name.npos;
}

// What git allows as a name of a branch or tag, and no more.
bool is_revision(std::string_view revision) {
  const auto allowed = [](char c) {
    return c > ' ' && c < '\x7f' && std::string_view("~^:?*[\\").find(c) == std::string_view::npos;
  };
  return !revision.empty() && revision.size() <= kLongestRevision && std::ranges::all_of(revision, allowed) &&
         revision.front() != '/' && revision.front() != '-' && revision.front() != '.' &&
         revision.back() != '/' && revision.find("..") == revision.npos &&
         revision.find("//") == revision.npos;
}

std::string encode(std::string_view text, std::string_view kept) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_word(c) || kept.find(c) != kept.npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

}  // namespace

Result<Repository> parse_repository(std::string_view text) {
  const auto bad = [&](const std::string& what) {
    return make_error(ErrorCode::invalid_argument, "'" + std::string(text) + "' " + what, "repository");
  };
  Repository repository;
  std::string_view id = text;
  if (const auto at = text.find('@'); at != text.npos) {
    id = text.substr(0, at);
    repository.revision = text.substr(at + 1);
    if (!is_revision(repository.revision))
      return bad("names no revision: a branch, a tag or a commit must follow the @");
  }
  const auto slash = id.find('/');
  if (slash == id.npos || !is_name(id.substr(0, slash)) || !is_name(id.substr(slash + 1)))
    return bad("is no repository: it must be ORG/NAME or ORG/NAME@REVISION");
  repository.organisation = id.substr(0, slash);
  repository.name = id.substr(slash + 1);
  return repository;
}

std::string percent_encode(std::string_view text, bool keep_slashes) {
  return encode(text, keep_slashes ? "~/" : "~");
}

std::string flat_name(std::string_view path) { return encode(path, ""); }

}  // namespace baton::hub
