#include "model/checkpoint.hpp"

#include <nlohmann/json.hpp>
#include <set>

namespace baton {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::size_t kMaxIndexBytes = 32U << 20;
constexpr std::size_t kMaxShards = 10'000;

// A shard's name comes from a file that we did not write: it must be a plain name in the same directory.
bool is_plain_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.front() != '.' &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// weight_map of the index: tensor name -> shard. Duplicates are found while parsing: the DOM would hide them.
Result<std::map<std::string, std::string>> parse_index(std::string_view text) {
  const auto corrupt = [](const std::string& what, const std::string& field = {}) {
    return make_error(ErrorCode::corrupt, std::string(kIndexFile) + ": " + what, field);
  };
  if (text.size() > kMaxIndexBytes) return corrupt("larger than 32 MiB");
  std::set<std::string> keys;
  std::string duplicate;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (event == nlohmann::json::parse_event_t::key && depth == 1) keys.clear();
    if (event == nlohmann::json::parse_event_t::key && depth == 2 &&
        !keys.insert(value.get<std::string>()).second)
      duplicate = value.get<std::string>();
    return depth <= 3;  // nothing that we read nests deeper
  };
  const nlohmann::json index = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (!index.is_object()) return corrupt("not a JSON object");
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty())
    return corrupt("weight_map must be an object that names each tensor's file", "weight_map");
  if (!duplicate.empty()) return corrupt("names '" + duplicate + "' twice", duplicate);
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) return corrupt("weight_map." + tensor + " must be a file name", tensor);
    const auto name = file.get<std::string>();
    if (!is_plain_name(name))
      return corrupt("weight_map." + tensor + " names '" + name +
                         "', which is not a plain .safetensors file name in the model's directory",
                     tensor);
    shards.emplace(tensor, name);
  }
  return shards;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  Checkpoint checkpoint;
  std::error_code error;
  if (std::filesystem::exists(directory / kSingleFile, error)) {
    if (auto opened = checkpoint.open_single(directory / kSingleFile); !opened)
      return std::move(opened).error();
    checkpoint.name_as_usual();
    return checkpoint;
  }
  if (!std::filesystem::exists(directory / kIndexFile, error))
    return make_error(ErrorCode::not_found, directory.string() + " holds neither " + kSingleFile + " nor " +
                                                kIndexFile + ": weights must be in safetensors format");
  const auto index = MappedFile::open(directory / kIndexFile);
  if (!index) return index.error();
  if (auto opened = checkpoint.open_sharded(directory, index->bytes()); !opened)
    return std::move(opened).error();
  checkpoint.name_as_usual();
  return checkpoint;
}

// The names that a language model's tensors would have if it were not inside one that also sees.
void Checkpoint::name_language_model() {
  constexpr std::string_view kLanguage = "language_model.";
  std::map<std::string, TensorRef> named;
  for (auto& [name, tensor] : tensors_) {
    std::string usual = name;
    for (const char* before : {"", "model.", "base_model.model.", "base_model.model.model."})
      if (name.starts_with(std::string(before).append(kLanguage)))
        usual.erase(std::string_view(before).size(), kLanguage.size());
    named.emplace(std::move(usual), std::move(tensor));
  }
  tensors_ = std::move(named);
}

// Models that only embed are saved without what generates, and without the "model." that tells it apart.
void Checkpoint::name_as_usual() {
  if (find("language_model.model.embed_tokens.weight") || find("model.language_model.embed_tokens.weight"))
    return name_language_model();
  if (find("embed_tokens.weight") == nullptr || find("model.embed_tokens.weight") != nullptr) return;
  std::map<std::string, TensorRef> named;
  for (auto& [name, tensor] : tensors_) named.emplace("model." + name, std::move(tensor));
  tensors_ = std::move(named);
}

Result<Checkpoint> Checkpoint::open_file(const std::filesystem::path& path) {
  Checkpoint checkpoint;
  if (auto opened = checkpoint.open_single(path); !opened) return std::move(opened).error();
  checkpoint.name_language_model();
  return checkpoint;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

Result<std::vector<SafetensorsEntry>> Checkpoint::add_file(const std::filesystem::path& path) {
  auto mapping = MappedFile::open(path);
  if (!mapping) return std::move(mapping).error();
  auto entries = parse_safetensors(mapping->bytes(), path.filename().string());
  if (entries) files_.push_back({path.filename().string(), *std::move(mapping)});
  return entries;
}

Result<void> Checkpoint::open_single(const std::filesystem::path& path) {
  auto entries = add_file(path);
  if (!entries) return std::move(entries).error();
  for (SafetensorsEntry& entry : *entries) {
    std::string name = entry.name;
    tensors_.emplace(std::move(name), TensorRef{std::move(entry), 0});
  }
  return {};
}

Result<void> Checkpoint::open_sharded(const std::filesystem::path& directory,
                                      std::span<const std::byte> index) {
  const auto shards =
      parse_index(std::string_view(reinterpret_cast<const char*>(index.data()), index.size()));
  if (!shards) return shards.error();
  std::set<std::string> names;
  for (const auto& [tensor, shard] : *shards) names.insert(shard);
  if (names.size() > kMaxShards)
    return make_error(ErrorCode::corrupt, std::string(kIndexFile) + ": names more than 10000 files");
  for (const std::string& name : names) {
    auto entries = add_file(directory / name);
    if (!entries) return std::move(entries).error();
    for (SafetensorsEntry& entry : *entries) {
      const auto expected = shards->find(entry.name);
      if (expected == shards->end() || expected->second != name) continue;  // another shard's, or nobody's
      std::string key = entry.name;
      tensors_.emplace(std::move(key), TensorRef{std::move(entry), files_.size() - 1});
    }
  }
  for (const auto& [tensor, shard] : *shards)
    if (!tensors_.contains(tensor))
      return make_error(ErrorCode::corrupt,
                        std::string(kIndexFile) + ": tensor '" + tensor + "' is not in " + shard, tensor);
  return {};
}

const Checkpoint::TensorRef* Checkpoint::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::span<const std::byte> Checkpoint::bytes(const TensorRef& tensor) const {
  return files_[tensor.file].mapping.bytes().subspan(tensor.entry.begin,
                                                     tensor.entry.end - tensor.entry.begin);
}

Result<WeightView> Checkpoint::view(const std::string& name, std::span<const std::int64_t> shape) const {
  const TensorRef* tensor = find(name);
  if (!tensor)
    return make_error(
        ErrorCode::corrupt,
        "the checkpoint has no tensor '" + name + "', expected with shape " + shape_to_string(shape), name);
  const SafetensorsEntry& entry = tensor->entry;
  const std::string where = files_[tensor->file].name + ": tensor '" + name + "' ";
  if (!std::equal(shape.begin(), shape.end(), entry.shape.begin(), entry.shape.end()))
    return make_error(ErrorCode::corrupt,
                      where + "has shape " + shape_to_string(entry.shape) + ", but config.json asks for " +
                          shape_to_string(shape),
                      name);
  if (!entry.dtype)
    return make_error(
        ErrorCode::unsupported,
        where + "has dtype " + entry.dtype_name + "; supported: F32, F16, BF16, and F8_E4M3 with scales",
        name);
  WeightView found;
  found.data = bytes(*tensor).data();
  found.dtype = *entry.dtype;
  return found;
}

Result<WeightView> Checkpoint::matrix(const std::string& name, std::int64_t out, std::int64_t in) const {
  const std::int64_t shape[] = {out, in};
  auto result = view(name, shape);
  if (!result) return result;
  result->out = out;
  result->in = in;
  return result;
}

Result<WeightView> Checkpoint::vector(const std::string& name, std::int64_t size) const {
  const std::int64_t shape[] = {size};
  auto result = view(name, shape);
  if (!result) return result;
  if (result->dtype == DType::e4m3)
    return make_error(ErrorCode::unsupported,
                      "tensor '" + name + "' is a vector of dtype F8_E4M3; supported: F32, F16, BF16", name);
  result->out = 1;
  result->in = size;
  return result;
}

}  // namespace baton
