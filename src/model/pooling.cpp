#include "baton/model/pooling.hpp"

#include <nlohmann/json.hpp>

#include "model/json_reader.hpp"

namespace baton {
namespace {

constexpr const char* kFile = "1_Pooling/config.json";
constexpr std::size_t kMaxBytes = 1U << 16;
constexpr std::string_view kSwitch = "pooling_mode_";

}  // namespace

Result<std::vector<std::string>> parse_pooling(std::string_view pooling_json) {
  const auto json = parse_json_object(pooling_json, kFile, kMaxBytes);
  if (!json) return json.error();
  JsonReader reader(*json, kFile);
  std::vector<std::string> modes;
  // Newer files have one name, older ones a switch for each mode.
  if (std::string mode = reader.text("pooling_mode", ""); !mode.empty()) modes.push_back(std::move(mode));
  for (const auto& [key, value] : json->items())
    if (key.starts_with(kSwitch) && reader.boolean(key, false)) modes.push_back(key.substr(kSwitch.size()));
  if (modes.empty()) reader.fail(ErrorCode::corrupt, "pooling_mode", "is missing");
  if (reader.error()) return *reader.error();
  return modes;
}

Result<std::vector<std::string>> load_pooling(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::exists(directory / kFile, error)) return std::vector<std::string>();
  const auto text = read_small_file(directory / kFile, kMaxBytes);
  if (!text) return text.error();
  return parse_pooling(*text);
}

}  // namespace baton
