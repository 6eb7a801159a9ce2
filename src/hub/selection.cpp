#include "hub/selection.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "baton/hub/repository.hpp"

namespace baton::hub {
namespace {

constexpr std::string_view kWeights = ".safetensors";
constexpr std::size_t kLongestName = 180;  // of a path as one name, which then still gets a hash

// Read by src/model and src/text; and, small, what other tools want of a tokenizer.
constexpr std::array<std::string_view, 13> kNames{"config.json",         "generation_config.json",
                                                  "tokenizer.json",      "tokenizer_config.json",
                                                  "chat_template.jinja", "model.safetensors.index.json",
                                                  "chat_template.json",  "special_tokens_map.json",
                                                  "added_tokens.json",   "vocab.json",
                                                  "merges.txt",          "vocab.txt",
                                                  "tokenizer.model"};

// How embeddings are made, in its own folder.
constexpr std::string_view kPooling = "1_Pooling/config.json";

// In the top folder only: below it lie other formats of the same weights. "consolidated" files are such, too.
bool is_read(std::string_view path) {
  if (path == kPooling) return true;
  if (path.find('/') != path.npos) return false;
  if (std::ranges::find(kNames, path) != kNames.end()) return true;
  return path.ends_with(kWeights) && path.front() != '.' && !path.starts_with("consolidated");
}

bool matches_any(const std::string& path, const std::vector<std::string>& globs) {
  return std::ranges::any_of(globs, [&](const std::string& glob) { return matches_glob(path, glob); });
}

// What stands in the repository instead of safetensors, for the message.
std::string other_weights(const std::vector<RemoteFile>& files) {
  for (const char* suffix : {".gguf", ".bin", ".pth", ".pt", ".onnx", ".h5", ".msgpack"})
    for (const RemoteFile& file : files)
      if (file.path.ends_with(suffix)) return ": it has " + file.path;
  return {};
}

Error not_a_model(const std::string& what) { return make_error(ErrorCode::unsupported, what); }

}  // namespace

bool matches_glob(const std::string& path, const std::string& glob) {
  const std::string pattern = glob.ends_with('/') ? glob + "*" : glob;
  return ::fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
}

Result<std::vector<RemoteFile>> select_files(const std::vector<RemoteFile>& files,
                                             const Selection& selection) {
  std::vector<RemoteFile> chosen;
  bool config = false, weights = false;
  for (const RemoteFile& file : files) {
    if (!is_read(file.path) && !matches_any(file.path, selection.include)) continue;
    if (matches_any(file.path, selection.exclude)) continue;
    if (flat_name(file.path).size() > kLongestName)
      return make_error(ErrorCode::unsupported, "the path '" + file.path + "' is too long");
    config = config || file.path == "config.json";
    weights = weights || (is_read(file.path) && file.path.ends_with(kWeights));
    chosen.push_back(file);
  }
  if (chosen.empty()) return not_a_model("no file of the repository is asked for");
  if (!selection.include.empty() || !selection.exclude.empty()) return chosen;
  if (!config)
    return not_a_model("the repository has no config.json: it is no model in Hugging Face's layout");
  if (!weights)
    return not_a_model("the repository has no weights in safetensors format" + other_weights(files) +
                       " (--include fetches other files, but baton serve does not read them)");
  return chosen;
}

}  // namespace baton::hub
