#include "hub/listing.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace baton::hub {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLargestFile = 1ULL << 50;
constexpr std::size_t kLongestPath = 1024;
constexpr std::size_t kShownBytes = 80;  // of what somebody else sent, in a message
constexpr int kDeepest = 32;             // the API nests five deep; the rest is room

Error corrupt(const std::string& what) { return make_error(ErrorCode::corrupt, "the Hub's answer: " + what); }

// For a message on a terminal: no control characters, and not all of it.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, kShownBytes));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return "'" + out + (text.size() > kShownBytes ? "...'" : "'");
}

Result<json> parse(std::string_view text) {
  if (text.size() > kMostAnswerBytes) return corrupt("larger than 16 MiB");
  bool deep = false;
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    deep = deep || depth > kDeepest;
    return !deep;
  };
  json document = json::parse(text, watch, /*allow_exceptions=*/false);
  if (deep) return corrupt("nests too deeply");
  if (document.is_discarded()) return corrupt("is not JSON");
  return document;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<std::uint64_t> size_of(const json& object) {
  const auto found = object.find("size");
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto size = found->get<std::uint64_t>();
  return size <= kLargestFile ? std::optional(size) : std::nullopt;
}

// {"type": "file", "path", "size", "oid": git's}, and for large files "lfs": {"oid": SHA-256, "size"}.
Result<RemoteFile> parse_file(const json& entry) {
  RemoteFile file{text_of(entry, "path"), 0, {}};
  if (auto safe = check_path(file.path); !safe) return safe.error();
  const auto lfs = entry.find("lfs");
  const bool large = lfs != entry.end() && !lfs->is_null();
  if (large && !lfs->is_object()) return corrupt("'lfs' of " + shown(file.path) + " is wrong");
  const json& place = large ? *lfs : entry;
  const auto size = size_of(place);
  if (!size) return corrupt("the size of " + shown(file.path) + " is wrong");
  file.size = *size;
  file.digest = {large ? DigestKind::sha256 : DigestKind::git_sha1, text_of(place, "oid")};
  constexpr std::string_view kPrefix = "sha256:";  // as git's own pointer files have it
  if (large && file.digest.hex.starts_with(kPrefix)) file.digest.hex.erase(0, kPrefix.size());
  if (!is_hex_digest(file.digest.hex, file.digest.kind))
    return corrupt("the hash of " + shown(file.path) + " is wrong");
  return file;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_next(std::string_view parameter) {
  parameter = trimmed(parameter);
  return parameter == "rel=\"next\"" || parameter == "rel=next";
}

}  // namespace

Result<void> check_path(std::string_view path) {
  const auto refuse = [&](const std::string& why) { return corrupt("the path " + shown(path) + " " + why); };
  if (path.empty()) return corrupt("a file has no path");
  if (path.size() > kLongestPath) return refuse("is longer than 1024 bytes");
  if (path.front() == '/') return refuse("is absolute");
  for (const char c : path)
    if (c == '\\' || static_cast<unsigned char>(c) < ' ' || c == '\x7f')
      return refuse("has a character that no file of a model has");
  for (std::string_view rest = path;;) {
    const auto slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return refuse("could leave the directory");
    if (slash == rest.npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (path.substr(0, path.find('/')) == kStateFolder) return refuse("lies in baton's own folder");
  return {};
}

Result<std::string> parse_commit(std::string_view text) {
  const auto document = parse(text);
  if (!document) return document.error();
  if (!document->is_object()) return corrupt("is no JSON object");
  std::string commit = text_of(*document, "sha");
  if (!is_hex_digest(commit, DigestKind::git_sha1)) return corrupt("'sha' is no commit");
  return commit;
}

Result<std::vector<RemoteFile>> parse_tree_page(std::string_view text) {
  const auto document = parse(text);
  if (!document) return document.error();
  if (!document->is_array()) return corrupt("the list of files is no JSON array");
  std::vector<RemoteFile> files;
  for (const json& entry : *document) {
    if (!entry.is_object()) return corrupt("a file in the list is no JSON object");
    if (text_of(entry, "type") != "file") continue;
    auto file = parse_file(entry);
    if (!file) return file.error();
    files.push_back(*std::move(file));
  }
  return files;
}

std::optional<std::string> next_page(std::string_view header) {
  while (true) {
    const auto open = header.find('<');
    const auto close = open == header.npos ? open : header.find('>', open);
    if (close == header.npos) return std::nullopt;
    const std::string_view url = header.substr(open + 1, close - open - 1);
    header.remove_prefix(close + 1);
    std::string_view parameters = header.substr(0, header.find('<'));
    parameters = parameters.substr(0, parameters.find_last_not_of(" \t,") + 1);
    while (!parameters.empty()) {
      const auto semicolon = parameters.find(';');
      if (is_next(parameters.substr(0, semicolon))) return std::string(url);
      if (semicolon == parameters.npos) break;
      parameters.remove_prefix(semicolon + 1);
    }
  }
}

}  // namespace baton::hub
