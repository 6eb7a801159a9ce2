#include "hub/manifest.hpp"

#include <nlohmann/json.hpp>

#include "hub/listing.hpp"

namespace baton::hub {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

Error corrupt() { return make_error(ErrorCode::corrupt, "the manifest is damaged"); }

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<Installed> parse_installed(const json& entry) {
  if (!entry.is_object()) return corrupt();
  const auto digest = parse_digest(text_of(entry, "hash"));
  const auto size = entry.find("size"), modified = entry.find("modified_ns");
  if (!digest || size == entry.end() || !size->is_number_unsigned() || modified == entry.end() ||
      !modified->is_number_integer())
    return corrupt();
  return Installed{*digest, {size->get<std::uint64_t>(), modified->get<std::int64_t>()}};
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text) {
  const auto watch = [](int depth, json::parse_event_t, json&) { return depth <= 4; };
  const json document = json::parse(text, watch, /*allow_exceptions=*/false);
  if (!document.is_object()) return corrupt();
  const auto format = document.find("format"), files = document.find("files");
  if (format == document.end() || *format != kFormat || files == document.end() || !files->is_object())
    return corrupt();
  Manifest manifest;
  manifest.repository = text_of(document, "repository");
  manifest.revision = text_of(document, "revision");
  manifest.commit = text_of(document, "commit");
  if (manifest.repository.empty() || !is_hex_digest(manifest.commit, DigestKind::git_sha1)) return corrupt();
  for (const auto& [path, entry] : files->items()) {
    const auto installed = parse_installed(entry);
    if (!installed || !check_path(path)) return corrupt();
    manifest.files.emplace(path, *installed);
  }
  return manifest;
}

std::string to_json(const Manifest& manifest) {
  json files = json::object();
  for (const auto& [path, installed] : manifest.files)
    files[path] = {{"hash", installed.digest.text()},
                   {"size", installed.stamp.size},
                   {"modified_ns", installed.stamp.modified_ns}};
  return json{{"format", kFormat},
              {"repository", manifest.repository},
              {"revision", manifest.revision},
              {"commit", manifest.commit},
              {"files", files}}
             .dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

}  // namespace baton::hub
