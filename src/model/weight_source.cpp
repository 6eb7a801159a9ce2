#include "model/weight_source.hpp"

#include <algorithm>
#include <cmath>

#include "baton/tensor/convert.hpp"

namespace baton {
namespace {

constexpr std::size_t kWholeHashBytes = 1U << 20;  // up to here all of a tensor is hashed
constexpr std::size_t kSamples = 64;
constexpr std::size_t kSampleBytes = 4096;

// Evenly spaced samples, the first and the last bytes among them.
Hash128 hash_tensor(const SafetensorsEntry& entry, std::span<const std::byte> bytes, Hash128 key) {
  Hash128 hash = hash_string(entry.name + ' ' + entry.dtype_name + ' ' + shape_to_string(entry.shape), key);
  if (bytes.size() <= kWholeHashBytes) return hash_bytes(bytes, hash);
  for (std::size_t i = 0; i < kSamples; ++i) {
    const std::size_t last = bytes.size() - kSampleBytes;
    const std::size_t offset = i + 1 == kSamples ? last : last / (kSamples - 1) * i;
    hash = hash_bytes(bytes.subspan(offset, kSampleBytes), hash);
  }
  return hash;
}

}  // namespace

void WeightSource::start_packing(Ops& ops, const LoadProgress& progress) {
  ops_ = &ops;
  progress_ = progress;
}

template <class T>
std::optional<T> WeightSource::keep_error(Result<T> result) {
  if (result) return *std::move(result);
  if (!error_) error_ = std::move(result).error();
  return std::nullopt;
}

void WeightSource::take(const std::string& name) {
  const Checkpoint::TensorRef* tensor = checkpoint_.find(name);
  const std::span<const std::byte> bytes = checkpoint_.bytes(*tensor);
  if (!ops_) {
    fingerprint_ = hash_tensor(tensor->entry, bytes, fingerprint_);
    bytes_total_ += bytes.size();
    return;
  }
  bytes_done_ += bytes.size();
  if (progress_) progress_(bytes_done_, bytes_total_);
}

void WeightSource::add_scales(const Projection& wanted, WeightView& view) {
  const std::string name = wanted.name + ".weight_scale";
  const Checkpoint::TensorRef* tensor = checkpoint_.find(name);
  std::int64_t count = 1;
  if (tensor)
    for (const std::int64_t dimension : tensor->entry.shape) count *= dimension;
  const bool floats = tensor && tensor->entry.dtype && *tensor->entry.dtype != DType::e4m3;
  if (!floats || (count != 1 && count != wanted.out)) {
    error_ = make_error(ErrorCode::corrupt,
                        "tensor '" + wanted.name + ".weight' is F8_E4M3 and needs '" + name +
                            "', of F32, F16 or BF16, with one element or " + std::to_string(wanted.out),
                        name);
    return;
  }
  std::vector<float>& values = scales_.emplace_back(static_cast<std::size_t>(count));
  convert_values(checkpoint_.bytes(*tensor).data(), *tensor->entry.dtype, count, DType::f32,
                 std::as_writable_bytes(std::span(values)).data());
  if (!std::ranges::all_of(values, [](float scale) { return std::isfinite(scale); })) {
    error_ = make_error(ErrorCode::corrupt, "tensor '" + name + "' holds NaN or infinity", name);
    return;
  }
  view.scales = values;
}

std::optional<WeightView> WeightSource::projection(std::int64_t in, const Projection& wanted) {
  auto view = keep_error(checkpoint_.matrix(wanted.name + ".weight", wanted.out, in));
  const std::string bias_name = wanted.name + ".bias";
  if (view && !wanted.bias) absent(bias_name, "attention_bias or mlp_bias");
  if (view && view->dtype == DType::e4m3) add_scales(wanted, *view);
  if (error_) return std::nullopt;
  if (!wanted.bias) return view;
  const auto bias = keep_error(checkpoint_.vector(bias_name, wanted.out));
  if (!bias) return std::nullopt;
  view->bias_dtype = bias->dtype;
  if (view->dtype != DType::e4m3 && bias->dtype != view->dtype)
    return keep_error<WeightView>(make_error(
        ErrorCode::unsupported,
        "tensor '" + bias_name + "' has another dtype (" + std::string(safetensors_dtype_name(bias->dtype)) +
            ") than its weight (" + std::string(safetensors_dtype_name(view->dtype)) + ")",
        bias_name));
  view->bias = bias->data;
  return view;
}

Linear WeightSource::linear(std::int64_t in, std::span<const Projection> projections) {
  std::vector<WeightView> views;
  scales_.clear();
  for (const Projection& wanted : projections) {
    if (error_) return {};
    const auto view = projection(in, wanted);
    if (!view) return {};
    views.push_back(*view);
  }
  Linear packed;
  if (ops_) {
    auto result = keep_error(ops_->pack(views));
    if (!result) return {};
    packed = *std::move(result);
  }
  for (const Projection& wanted : projections) {
    take(wanted.name + ".weight");
    if (checkpoint_.find(wanted.name + ".weight")->entry.dtype == DType::e4m3)
      take(wanted.name + ".weight_scale");
    if (wanted.bias) take(wanted.name + ".bias");
  }
  return packed;
}

void WeightSource::absent(const std::string& name, const std::string& field) {
  if (error_ || checkpoint_.find(name) == nullptr) return;
  error_ = make_error(
      ErrorCode::invalid_argument,
      "the checkpoint has the tensor '" + name + "', which config.json does not ask for: check " + field,
      field);
}

Linear WeightSource::vector(const std::string& name, std::int64_t size) {
  if (error_) return {};
  const auto view = keep_error(checkpoint_.vector(name, size));
  if (!view) return {};
  Linear packed;
  if (ops_) {
    auto result = keep_error(ops_->pack_vector(*view));
    if (!result) return {};
    packed = *std::move(result);
  }
  take(name);
  return packed;
}

Experts WeightSource::experts(const std::string& prefix, std::int32_t count, std::int64_t in,
                              std::int64_t ffn, const MixtureNames& names) {
  std::vector<ExpertView> views;
  scales_.clear();
  std::vector<std::string> taken;
  const auto read = [&](std::int32_t index, const char* name, std::int64_t rows, std::int64_t cols) {
    const auto view = projection(cols, {prefix + std::to_string(index) + "." + name, rows, false});
    taken.push_back(prefix + std::to_string(index) + "." + name + ".weight");
    return view.value_or(WeightView{});
  };
  for (std::int32_t e = 0; e < count && !error_; ++e) {
    ExpertView view;
    view.gate = read(e, names.gate, ffn, in);
    if (!error_) view.up = read(e, names.up, ffn, in);
    if (!error_) view.down = read(e, names.down, in, ffn);
    views.push_back(view);
  }
  absent(prefix + std::to_string(count) + "." + names.gate + ".weight", "the number of experts");
  if (error_) return {};
  Experts packed;
  if (ops_) {
    auto result = keep_error(ops_->pack_experts(views));
    if (!result) return {};
    packed = *std::move(result);
  }
  for (const std::string& name : taken) {
    take(name);
    if (checkpoint_.find(name)->entry.dtype == DType::e4m3) take(name + "_scale");
  }
  return packed;
}

std::optional<DType> WeightSource::dtype_of(const std::string& name) const {
  const Checkpoint::TensorRef* tensor = checkpoint_.find(name);
  return tensor ? tensor->entry.dtype : std::nullopt;
}

}  // namespace baton
