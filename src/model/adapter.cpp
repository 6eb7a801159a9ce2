#include "model/adapter.hpp"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "baton/tensor/convert.hpp"
#include "model/json_reader.hpp"

namespace baton {
namespace {

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kTensorFile = "adapter_model.safetensors";
constexpr std::size_t kMaxConfigBytes = 1U << 20;
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kDown = ".lora_A.weight";
constexpr std::string_view kUp = ".lora_B.weight";
static_assert(kUp.size() == kDown.size());

// A tensor for the part of a model that makes tokens of images, of which there are none here.
bool is_of_what_sees(std::string_view name) {
  constexpr std::string_view kModel = "model.";
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  return name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector.");
}

bool is_empty(const nlohmann::json& value) {
  return value == false || ((value.is_array() || value.is_object()) && value.empty());
}

// Keys whose meaning would be lost if they were ignored.
void refuse_other_methods(JsonReader& reader) {
  for (const char* key :
       {"use_dora", "use_qalora", "fan_in_fan_out", "lora_bias", "modules_to_save", "alpha_pattern",
        "layer_replication", "trainable_token_indices", "target_parameters", "arrow_config",
        "alora_invocation_tokens", "kasa_config", "monteclora_config", "use_bdlora"}) {
    const nlohmann::json* value = reader.find(key);
    if (value && !is_empty(*value))
      reader.fail(ErrorCode::unsupported, key, "is set; supported: plain LoRA without it");
  }
  if (const std::string bias = reader.text("bias", "none"); bias != "none")
    reader.fail(ErrorCode::unsupported, "bias", "is '" + bias + "'; supported: none");
  // These begin with other base weights than the model's own.
  const nlohmann::json* begun = reader.find("init_lora_weights");
  if (begun && begun->is_string())
    for (const std::string_view method : {"pissa", "olora", "corda", "loftq", "lora_ga"})
      if (begun->get<std::string>().starts_with(method))
        reader.fail(ErrorCode::unsupported, "init_lora_weights",
                    "is '" + begun->get<std::string>() + "', which changes the base model's weights as well");
}

Error named(const std::string& adapter, Error error) {
  error.message = "adapter '" + adapter + "': " + error.message;
  return error;
}

// Columns `cols` of one row of a matrix.
void copy_row(const WeightView& matrix, std::int64_t row, Share cols, float* to) {
  const auto element = static_cast<std::size_t>(row * matrix.in + cols.first);
  convert_values(static_cast<const std::byte*>(matrix.data) + element * size_of(matrix.dtype), matrix.dtype,
                 cols.count, DType::f32, reinterpret_cast<std::byte*>(to));
}

}  // namespace

Result<AdapterConfig> parse_adapter_config(std::string_view adapter_config_json) {
  const auto json = parse_json_object(adapter_config_json, kConfigFile, kMaxConfigBytes);
  if (!json) return json.error();
  JsonReader reader(*json, kConfigFile);
  if (const std::string type = reader.text("peft_type", "LORA"); type != "LORA")
    reader.fail(ErrorCode::unsupported, "peft_type", "is '" + type + "'; supported: LORA");
  refuse_other_methods(reader);
  AdapterConfig config;
  config.alpha = reader.number("lora_alpha", {-1e6, 1e6});
  config.rank_stabilised = reader.boolean("use_rslora", false);
  if (reader.error()) return *reader.error();
  return config;
}

AdapterView AdapterMatrices::view() const {
  if (scales.empty()) return {};
  const auto rank = static_cast<std::int64_t>(scales.size());
  return {.down = {.data = down.data(), .dtype = DType::f32, .out = rank, .in = in},
          .up = {.data = up.data(), .dtype = DType::f32, .out = out, .in = rank},
          .scales = scales};
}

Result<Adapter> Adapter::open(const AdapterSource& source) {
  const auto text = read_small_file(source.directory / kConfigFile, kMaxConfigBytes);
  if (!text) return named(source.name, text.error());
  const auto config = parse_adapter_config(*text);
  if (!config) return named(source.name, config.error());
  auto tensors = Checkpoint::open_file(source.directory / kTensorFile);
  if (!tensors) return named(source.name, std::move(tensors).error());
  if (tensors->size() == 0)
    return named(source.name, make_error(ErrorCode::corrupt, std::string(kTensorFile) + " holds no tensors"));
  return Adapter(source.name, *config, *std::move(tensors));
}

Adapter::Adapter(std::string name, AdapterConfig config, Checkpoint tensors)
    : name_(std::move(name)), config_(config), tensors_(std::move(tensors)) {
  fingerprint_ =
      hash_string("baton adapter 1 " + std::to_string(std::bit_cast<std::uint64_t>(config_.alpha)) +
                  (config_.rank_stabilised ? " rank-stabilised" : ""));
  for (const std::string& tensor : tensors_.names()) {
    const SafetensorsEntry& entry = tensors_.find(tensor)->entry;
    fingerprint_ =
        hash_string(tensor + ' ' + entry.dtype_name + ' ' + shape_to_string(entry.shape), fingerprint_);
    fingerprint_ = hash_bytes(tensors_.bytes(*tensors_.find(tensor)), fingerprint_);
  }
}

float Adapter::scale(std::int64_t rank) const {
  const auto size = static_cast<double>(rank);
  return static_cast<float>(config_.alpha / (config_.rank_stabilised ? std::sqrt(size) : size));
}

Result<WeightView> Adapter::matrix(const std::string& tensor) const {
  const SafetensorsEntry& entry = tensors_.find(tensor)->entry;
  if (entry.shape.size() != 2)
    return make_error(
        ErrorCode::corrupt,
        "tensor '" + tensor + "' has shape " + shape_to_string(entry.shape) + ", must be a matrix", tensor);
  if (!entry.dtype || *entry.dtype == DType::e4m3)
    return make_error(ErrorCode::unsupported,
                      "tensor '" + tensor + "' has dtype " + entry.dtype_name + "; supported: F32, F16, BF16",
                      tensor);
  return WeightView{.data = tensors_.bytes(*tensors_.find(tensor)).data(),
                    .dtype = *entry.dtype,
                    .out = entry.shape[0],
                    .in = entry.shape[1]};
}

Result<std::optional<Adapter::Part>> Adapter::part(const AdaptedProjection& projection) const {
  const std::string base = std::string(kPrefix) + projection.name;
  const std::string down_name = base + std::string(kDown), up_name = base + std::string(kUp);
  const bool has_down = tensors_.find(down_name) != nullptr, has_up = tensors_.find(up_name) != nullptr;
  if (!has_down && !has_up) return std::optional<Part>();
  const std::string& missing = has_down ? up_name : down_name;
  if (!has_down || !has_up)
    return make_error(ErrorCode::corrupt, "there is no tensor '" + missing + "'", missing);
  const auto down = matrix(down_name), up = matrix(up_name);
  if (!down) return down.error();
  if (!up) return up.error();
  if (down->out < 1 || down->out != up->in || down->in != projection.in || up->out != projection.out)
    return make_error(ErrorCode::corrupt,
                      "the matrices of '" + projection.name + "' have shapes " +
                          shape_to_string(std::vector{down->out, down->in}) + " and " +
                          shape_to_string(std::vector{up->out, up->in}) + ", but the model's is " +
                          shape_to_string(std::vector{projection.out, projection.in}),
                      down_name);
  return std::optional(Part{*down, *up});
}

Result<std::vector<std::optional<Adapter::Part>>> Adapter::parts(
    std::span<const AdaptedProjection> projections) const {
  std::vector<std::optional<Part>> parts;
  std::int64_t rank = 0;
  for (const AdaptedProjection& projection : projections) {
    auto found = part(projection);
    if (!found) return named(name_, std::move(found).error());
    if (*found) rank += (*found)->down.out;
    parts.push_back(*found);
  }
  if (rank <= kMostAdapterRank) return parts;
  return named(name_, make_error(ErrorCode::unsupported,
                                 "'" + projections.front().name + "' and its neighbours have a rank of " +
                                     std::to_string(rank) + "; at most " + std::to_string(kMostAdapterRank) +
                                     " is supported",
                                 "r"));
}

Result<void> Adapter::check(std::span<const AdaptedProjection> projections) const {
  if (auto found = parts(projections); !found) return std::move(found).error();
  return {};
}

Result<AdapterMatrices> Adapter::matrices(std::span<const AdaptedProjection> projections) const {
  const auto found = parts(projections);
  if (!found) return found.error();
  AdapterMatrices made;
  std::int64_t rank = 0;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const std::optional<Part>& part = (*found)[i];
    if (part) {
      rank += part->down.out;
      made.scales.insert(made.scales.end(), static_cast<std::size_t>(part->down.out), scale(part->down.out));
    }
    made.out += static_cast<std::int64_t>(projections[i].outputs.size());
    made.in = projections[i].inputs.count;
  }
  made.down.resize(static_cast<std::size_t>(rank * made.in));
  made.up.resize(static_cast<std::size_t>(made.out * rank));
  std::int64_t first_rank = 0, output = 0;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const std::optional<Part>& part = (*found)[i];
    const std::int64_t own_rank = part ? part->down.out : 0;
    for (std::int64_t row = 0; row < own_rank; ++row)
      copy_row(part->down, row, projections[i].inputs, made.down.data() + (first_rank + row) * made.in);
    for (const std::int64_t row : projections[i].outputs) {
      if (part) copy_row(part->up, row, {0, own_rank}, made.up.data() + output * rank + first_rank);
      ++output;
    }
    first_rank += own_rank;
  }
  return made;
}

std::optional<std::string> Adapter::tensor_outside(const std::set<std::string>& projections) const {
  for (const std::string& tensor : tensors_.names()) {
    std::string_view name = tensor;
    if (!name.starts_with(kPrefix)) return tensor;
    name.remove_prefix(kPrefix.size());
    if (is_of_what_sees(name)) continue;
    if (!name.ends_with(kDown) && !name.ends_with(kUp)) return tensor;
    name.remove_suffix(kDown.size());
    if (!projections.contains(std::string(name))) return tensor;
  }
  return std::nullopt;
}

}  // namespace baton
