#include "app/config_file.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

namespace baton {
namespace {

struct Place {
  const std::filesystem::path& file;
  std::string key;
  toml::source_region source;
  Error error(const std::string& why) const {
    return make_error(ErrorCode::invalid_argument,
                      file.string() + ":" + std::to_string(source.begin.line) + ": " + key + ": " + why, key);
  }
};

// A scalar as the text that its flag would get.
std::optional<std::string> as_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* real = node.as_floating_point()) {
    std::ostringstream out;
    out << real->get();
    return out.str();
  }
  return std::nullopt;
}

Result<void> set_row(ConfigRow& row, const toml::node& node, const Place& place) {
  const auto set = [&](const toml::node& value) -> Result<void> {
    const auto text = as_text(value);
    if (!text) return place.error("is neither text, a number, true nor false");
    if (auto done = row.set(*text); !done) return place.error(done.error().message);
    return {};
  };
  const auto* list = node.as_array();
  row.given = true;
  if (row.clear) row.clear();
  if (list == nullptr) return set(node);
  if (!row.repeatable) return place.error("takes one value, not a list");
  for (const toml::node& value : *list)
    if (auto done = set(value); !done) return done;
  return {};
}

}  // namespace

Result<void> apply_config_file(const std::filesystem::path& file, std::vector<ConfigRow>& rows,
                               const OpenTable& open_table) {
  toml::table root;
  try {
    root = toml::parse_file(file.string());
  } catch (const toml::parse_error& error) {  // the library's only way to report
    return make_error(ErrorCode::invalid_argument,
                      file.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                          std::string(error.description()),
                      "--config");
  }
  for (const auto& [section_key, section] : root) {
    const std::string section_name(section_key.str());
    const auto* table = section.as_table();
    if (table == nullptr) return Place{file, section_name, section.source()}.error("is not a [table]");
    for (const auto& [entry_key, entry] : *table) {
      const Place place{file, section_name + "." + std::string(entry_key.str()), entry.source()};
      if (section_name == open_table.name) {
        const auto text = as_text(entry);
        if (!text) return place.error("is neither text, a number, true nor false");
        (*open_table.entries)[std::string(entry_key.str())] = *text;
        continue;
      }
      const auto row =
          std::find_if(rows.begin(), rows.end(), [&](const ConfigRow& r) { return r.key == place.key; });
      if (row == rows.end()) return place.error("is no setting of this command");
      if (auto done = set_row(*row, entry, place); !done) return done;
    }
  }
  return {};
}

}  // namespace baton
