// Everything that a Hub may answer: a commit, a page of files, headers; and the manifest that lies beside
// them.
//
// The first byte picks the parser, the rest is its input.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "baton/hub/repository.hpp"
#include "hub/http.hpp"
#include "hub/listing.hpp"
#include "hub/manifest.hpp"

using namespace baton;
using namespace baton::hub;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// A value, or an error that says something and that a terminal can show.
template <class T>
bool well_formed(const Result<T>& result) {
  if (!result) {
    require(!result.error().message.empty());
    require(std::ranges::all_of(result.error().message,
                                [](char c) { return static_cast<unsigned char>(c) >= ' '; }));
  }
  return result.has_value();
}

// Judged by another mind than check_path's: the library's own idea of where a path leads.
void stays_below(const std::string& path) {
  const std::filesystem::path base = "/base/model";
  const std::filesystem::path joined = (base / path).lexically_normal();
  const std::string text = joined.string();
  require(text.starts_with("/base/model/") && text != "/base/model/");
  require(path.find('\0') == path.npos && path.find('\\') == path.npos);
  require(!text.starts_with("/base/model/.baton-pull/") && text != "/base/model/.baton-pull");
  require(flat_name(path).find('/') == std::string::npos);
}

void page(std::string_view input) {
  const auto files = parse_tree_page(input);
  if (!well_formed(files)) return;
  for (const RemoteFile& file : *files) {
    stays_below(file.path);
    require(is_hex_digest(file.digest.hex, file.digest.kind));
  }
}

void manifest(std::string_view input) {
  const auto parsed = parse_manifest(input);
  if (!well_formed(parsed)) return;
  for (const auto& [path, installed] : parsed->files) stays_below(path);
  if (const auto again = parse_manifest(to_json(*parsed)); again)
    require(to_json(*again) == to_json(*parsed));
}

void headers(const std::string& input) {
  if (const auto next = next_page(input)) {
    require(input.find("<" + *next + ">") != std::string::npos);
    if (const auto url = resolve_url("https://hub.example/a?b", *next)) (void)origin_of(*url);
  }
  (void)range_begin(input);
  if (const auto pause = parse_retry_after(input, 1'700'000'000)) require(*pause >= Duration(0));
  if (const auto origin = origin_of(input))
    require(origin->starts_with("http://") || origin->starts_with("https://"));
  require(!plain_url(input).empty() || !origin_of(input));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      page(input);
      break;
    case 1:
      if (const auto commit = parse_commit(input); well_formed(commit))
        require(is_hex_digest(*commit, DigestKind::git_sha1));
      break;
    case 2:
      headers(input);
      break;
    case 3:
      manifest(input);
      break;
    default:
      if (const auto repository = parse_repository(input))
        require(repository->text() == input || repository->revision == "main");
      break;
  }
  return 0;
}
