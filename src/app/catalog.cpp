#include "app/catalog.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "app/system.hpp"

namespace baton {
namespace {

namespace fs = std::filesystem;

Error bad(const std::string& what, const std::string& flag) {
  return make_error(ErrorCode::invalid_argument, flag + ": " + what, flag);
}

std::optional<std::string> read_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) return std::nullopt;
  return std::move(text).str();
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Without what only tells how the weights are stored.
std::string without_quantisation(std::string name) {
  constexpr std::array kSuffixes{"-fp8",       "-nvfp4", "-fp4",         "-mxfp4", "-awq",
                                 "-gptq-int4", "-int4",  "-fp8-dynamic", "-bf16",  "-hf"};
  for (bool again = true; again;) {
    again = false;
    for (const char* suffix : kSuffixes)
      if (name.ends_with(suffix)) name.resize(name.size() - std::string_view(suffix).size()), again = true;
  }
  return name;
}

// The shipped file whose name is `name`: as given, by its last part, without its quantisation.
std::optional<fs::path> shipped_model(const std::string& name) {
  const fs::path folder = find_configs() / "models";
  std::error_code error;
  if (fs::is_regular_file(folder / (name + ".json"), error)) return folder / (name + ".json");
  const std::string wanted = lower(name.substr(name.find_last_of('/') + 1)),
                    plain = without_quantisation(wanted);
  std::optional<fs::path> found;
  int best = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, error)) {
    if (entry.path().extension() != ".json") continue;
    const std::string stem = lower(entry.path().stem().string());
    int rank = 0;
    if (without_quantisation(stem) == plain) rank = 1;
    if (plain == without_quantisation(stem) + "-instruct" ||
        plain + "-instruct" == without_quantisation(stem))
      rank = 1;
    if (stem == plain) rank = 2;
    if (stem == wanted) rank = 3;
    if (rank > best || (rank == best && rank > 0 && entry.path() < *found)) found = entry.path(), best = rank;
  }
  return found;
}

}  // namespace

Result<ModelShape> Catalog::model(const std::string& name) {
  if (const auto known = models_.find(name); known != models_.end()) return known->second;
  if (name.empty())
    return bad("a model is needed: a directory, a config.json or a name such as Llama-3.1-8B", "--model");
  fs::path file = name;
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) file = fs::path(name) / "config.json";
  auto text = read_file(file);
  if (!text)
    if (const auto shipped = shipped_model(name)) text = read_file(file = *shipped);
  if (!text)
    return bad("'" + name + "' is no directory, no config.json and no name in " +
                   (find_configs() / "models").string(),
               "--model");
  auto shape = parse_model_shape(*text, file.string());
  if (shape) models_.emplace(name, *shape);
  return shape;
}

Result<SystemSpec> Catalog::system(const std::string& name, const std::string& flag) {
  if (const auto known = systems_.find(name); known != systems_.end()) return known->second;
  fs::path file = name;
  auto text = read_file(file);
  if (!text) text = read_file(file = find_configs() / "systems" / (name + ".json"));
  if (!text)
    return bad("'" + name + "' is no file and no name in " + (find_configs() / "systems").string(), flag);
  auto spec = parse_system_spec(*text, file.string());
  if (spec) systems_.emplace(name, *spec);
  return spec;
}

Result<EngineProfile> Catalog::profile(const std::string& backend, const SystemSpec& system,
                                       Precision weights) {
  if (backend == "baton") {
    if (system.baton) return *system.baton;
    return bad("the file of " + system.name + " does not say what Baton reaches there: no 'baton' object",
               "--system");
  }
  const std::string key = backend + "/" + system.name + "/" + std::string(to_string(weights));
  if (const auto known = profiles_.find(key); known != profiles_.end()) return known->second;
  fs::path file = profile_file;
  if (file.empty()) file = find_configs() / "systems" / "profiles" / (backend + ".json");
  const auto text = read_file(file);
  if (!text) return bad("'" + backend + "' is not baton and has no file " + file.string(), "--backend");
  auto profile = parse_engine_profile(*text, file.string(), system.name, weights);
  if (profile) profiles_.emplace(key, *profile);
  return profile;
}

}  // namespace baton
