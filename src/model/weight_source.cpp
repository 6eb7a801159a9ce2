#include "model/weight_source.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

#include "baton/tensor/convert.hpp"
#include "model/packed_weights.hpp"

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

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

// part(first, last) for all of [0, count), on all cores where so many values are worth it.
void on_all_cores(std::int64_t count, std::int64_t values,
                  const std::function<void(std::int64_t, std::int64_t)>& part) {
  constexpr std::int64_t kWorthAThread = 1 << 18;
  const auto cores = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  const std::int64_t parts = std::max<std::int64_t>(1, std::min({cores, values / kWorthAThread, count}));
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto safely = [&](std::int64_t first, std::int64_t last) {
    try {
      part(first, last);
    } catch (...) {
      const std::scoped_lock lock(failure_mutex);
      failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(static_cast<std::size_t>(parts));
    for (std::int64_t i = 1; i < parts; ++i) {
      const std::int64_t first = count * i / parts, last = count * (i + 1) / parts;
      try {
        others.emplace_back(safely, first, last);
      } catch (const std::system_error&) {  // no more threads: then by ourselves
        safely(first, last);
      }
    }
    safely(0, count / parts);
  }
  if (failure) std::rethrow_exception(failure);
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

std::byte* WeightSource::room_for(std::int64_t elements, DType dtype) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * size_of(dtype);
  return expanded_.emplace_back(std::make_unique_for_overwrite<std::byte[]>(bytes)).get();
}

std::vector<std::string> WeightSource::tensors_of(const Projection& wanted) const {
  std::vector<std::string> names;
  if (is_packed(wanted.name)) {
    names = packed_tensors(checkpoint_, wanted.name, packed_);
  } else {
    names.push_back(wanted.name + ".weight");
    if (dtype_of(names.front()) == DType::e4m3) names.push_back(scales_of(names.front()));
  }
  if (wanted.bias) names.push_back(wanted.name + ".bias");
  return names;
}

bool WeightSource::is_rounded(const Projection& wanted) const {
  if (quantization_ != Quantization::fp8 || wanted.keeps_type) return false;
  return is_packed(wanted.name) || blocks_.out > 0 || dtype_of(wanted.name + ".weight") != DType::e4m3;
}

void WeightSource::take(const Projection& wanted) {
  if (wanted.first > 0) return;  // the tensor counts once
  for (const std::string& name : tensors_of(wanted)) take(name);
  // With such weights it is another model.
  if (!ops_ && is_rounded(wanted)) fingerprint_ = hash_string("rounded to e4m3", fingerprint_);
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

// Finite floats of a shape that is `allowed`.
std::optional<std::vector<float>> WeightSource::read_scales(const std::string& name,
                                                            const std::function<bool(const Shape&)>& allowed,
                                                            const std::string& wanted) {
  const Checkpoint::TensorRef* tensor = checkpoint_.find(name);
  const bool floats = tensor && tensor->entry.dtype && *tensor->entry.dtype != DType::e4m3;
  if (!floats || !allowed(tensor->entry.shape)) {
    error_ = make_error(ErrorCode::corrupt,
                        "an F8_E4M3 weight needs '" + name + "', of F32, F16 or BF16, " + wanted, name);
    return std::nullopt;
  }
  const std::int64_t count = elements_of(tensor->entry.shape);
  std::vector<float> values(static_cast<std::size_t>(count));
  convert_values(checkpoint_.bytes(*tensor).data(), *tensor->entry.dtype, count, DType::f32,
                 std::as_writable_bytes(std::span(values)).data());
  if (std::ranges::all_of(values, [](float scale) { return std::isfinite(scale); })) return values;
  error_ = make_error(ErrorCode::corrupt, "tensor '" + name + "' holds NaN or infinity", name);
  return std::nullopt;
}

void WeightSource::add_scales(const Projection& wanted, WeightView& view) {
  auto values = read_scales(
      scales_of(wanted.name + ".weight"),
      [&](const Shape& shape) {
        return elements_of(shape) == 1 || elements_of(shape) == wanted.tensor_outputs();
      },
      "with one element or " + std::to_string(wanted.tensor_outputs()));
  if (values) view.scales = scales_.emplace_back(*std::move(values));
}

void WeightSource::expand_blocks(const Projection& wanted, WeightView& view) {
  const std::int64_t across = (view.in + blocks_.in - 1) / blocks_.in;
  const std::int64_t down = (view.out + blocks_.out - 1) / blocks_.out;
  const auto scales = read_scales(
      scales_of(wanted.name + ".weight"),
      [&](const Shape& shape) {
        return shape == Shape{down, across};
      },
      "of shape " + shape_to_string(Shape{down, across}));
  view.dtype = dtype_of(kEmbeddings).value_or(DType::bf16);
  if (!scales || !ops_) return;
  const auto* codes = static_cast<const std::byte*>(view.data);
  const auto row_bytes = static_cast<std::size_t>(view.in) * size_of(view.dtype);
  std::byte* const values = room_for(view.out * view.in, view.dtype);
  on_all_cores(view.out, view.out * view.in, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t output = begin; output < end; ++output) {
      for (std::int64_t block = 0; block < across; ++block) {
        const std::int64_t first = block * blocks_.in;
        convert_values(codes + output * view.in + first, DType::e4m3,
                       std::min<std::int64_t>(blocks_.in, view.in - first), view.dtype,
                       values + static_cast<std::size_t>(output) * row_bytes +
                           static_cast<std::size_t>(first) * size_of(view.dtype),
                       (*scales)[static_cast<std::size_t>(output / blocks_.out * across + block)]);
      }
    }
  });
  view.data = values;
}

bool WeightSource::is_packed(const std::string& name) const {
  return packed_.kind != PackedWeights::Kind::none && name + ".weight" != kEmbeddings &&
         checkpoint_.find(codes_of(name, packed_.kind)) != nullptr;
}

std::optional<WeightView> WeightSource::whole_projection(std::int64_t in, const Projection& wanted) {
  const std::string name = wanted.name + ".weight";
  if (packed_.kind != PackedWeights::Kind::none && name != kEmbeddings && !checkpoint_.find(name))
    return keep_error<WeightView>(make_error(ErrorCode::corrupt,
                                             "the checkpoint has neither the tensor '" + name + "' nor '" +
                                                 codes_of(wanted.name, packed_.kind) + "'",
                                             name));
  auto view = keep_error(checkpoint_.matrix(name, wanted.tensor_outputs(), in));
  const bool codes = view && view->dtype == DType::e4m3;
  const bool expanded = codes && blocks_.out > 0;
  if (expanded)
    expand_blocks(wanted, *view);
  else if (codes)
    add_scales(wanted, *view);
  if (!error_ && !wanted.bias) absent(wanted.name + ".bias", "attention_bias or mlp_bias");
  if (!error_ && wanted.bias) add_bias(wanted, expanded, *view);
  return error_ ? std::nullopt : view;
}

std::optional<WeightView> WeightSource::unpacked_projection(std::int64_t in, const Projection& wanted,
                                                            Share rows) {
  absent(wanted.name + ".weight",
         "quantization_config");  // which of the two it would be is not ours to guess
  if (error_) return std::nullopt;
  const auto packed =
      keep_error(PackedProjection::open(checkpoint_, wanted.name, packed_, {wanted.tensor_outputs(), in}));
  if (!packed) return std::nullopt;
  WeightView view;
  view.out = wanted.tensor_outputs();
  view.in = in;
  view.dtype = dtype_of(kEmbeddings).value_or(DType::bf16);
  if (wanted.bias)
    add_bias(wanted, true, view);
  else
    no_bias_but_zeros(wanted.name + ".bias", wanted.tensor_outputs());
  if (error_) return std::nullopt;
  if (!ops_) return view;
  std::byte* const values = room_for(rows.count * in, view.dtype);
  on_all_cores(rows.count, rows.count * in, [&](std::int64_t begin, std::int64_t end) {
    packed->expand(rows.first + begin, rows.first + end, view.dtype,
                   values + static_cast<std::size_t>(begin * in) * size_of(view.dtype));
  });
  view.out = rows.count;
  view.data = values;
  if (view.bias)
    view.bias = static_cast<const std::byte*>(view.bias) +
                static_cast<std::size_t>(rows.first) * size_of(view.bias_type());
  return view;
}

void WeightSource::add_bias(const Projection& wanted, bool expanded, WeightView& view) {
  const std::string name = wanted.name + ".bias";
  const auto bias = keep_error(checkpoint_.vector(name, wanted.tensor_outputs()));
  if (!bias) return;
  view.bias_dtype = bias->dtype;
  view.bias = bias->data;
  if (view.dtype == DType::e4m3 || bias->dtype == view.dtype) return;
  if (!expanded) {
    error_ = make_error(ErrorCode::unsupported,
                        "tensor '" + name + "' has another dtype (" +
                            std::string(safetensors_dtype_name(bias->dtype)) + ") than its weight (" +
                            std::string(safetensors_dtype_name(view.dtype)) + ")",
                        name);
    return;
  }
  std::byte* const values = room_for(wanted.tensor_outputs(), view.dtype);
  convert_values(bias->data, bias->dtype, wanted.tensor_outputs(), view.dtype, values);
  view.bias_dtype = view.dtype;
  view.bias = values;
}

// AutoGPTQ gave each projection a bias, of zeros where the model has none: these change nothing.
void WeightSource::no_bias_but_zeros(const std::string& name, std::int64_t out) {
  if (!checkpoint_.find(name)) return;
  const auto bias = keep_error(checkpoint_.vector(name, out));
  if (!bias) return;
  std::vector<float> values(static_cast<std::size_t>(out));
  convert_values(bias->data, bias->dtype, out, DType::f32, std::as_writable_bytes(std::span(values)).data());
  if (std::ranges::all_of(values, [](float value) { return value == 0; })) return;
  absent(name, "attention_bias or mlp_bias");
}

std::optional<WeightView> WeightSource::projection(std::int64_t in, const Projection& wanted, Split split) {
  const Share rows = outputs_of(wanted, split);
  const bool packed = is_packed(wanted.name);
  const auto whole = packed ? unpacked_projection(in, wanted, rows) : whole_projection(in, wanted);
  if (!whole || !ops_) return whole;
  WeightView view = *whole;
  if (!packed && rows.count < view.out) view = share_of_outputs(view, rows);
  if (!wanted.head_order.empty()) view = in_order(view, wanted.head_order);
  if (is_rounded(wanted))
    view = quantised(view);  // by whole outputs, so that all ranks have a lone model's codes
  if (place_.width > 1 && split == Split::inputs) view = share_of_inputs(view);
  return view;
}

Share WeightSource::outputs_of(const Projection& wanted, Split split) const {
  const Share mine = split == Split::outputs ? share_of(wanted.out, place_) : Share{0, wanted.out};
  return {wanted.first + mine.first, mine.count};
}

WeightView WeightSource::in_order(const WeightView& view, std::span<const std::int32_t> head_order) {
  const auto row_bytes = static_cast<std::size_t>(view.in) * size_of(view.dtype);
  const std::size_t bias_bytes = view.bias ? size_of(view.bias_type()) : 0;
  const bool by_output = view.scales.size() > 1;
  const auto* const rows = static_cast<const std::byte*>(view.data);
  const auto* const bias = static_cast<const std::byte*>(view.bias);
  std::byte* const new_rows = room_for(view.out * view.in, view.dtype);
  std::byte* const new_bias = bias ? room_for(view.out, view.bias_type()) : nullptr;
  std::vector<float>& new_scales = scales_.emplace_back(view.scales.begin(), view.scales.end());
  const std::size_t head = head_order.size();
  for (std::size_t to = 0; to < static_cast<std::size_t>(view.out); ++to) {
    const std::size_t from = to / head * head + static_cast<std::size_t>(head_order[to % head]);
    std::memcpy(new_rows + to * row_bytes, rows + from * row_bytes, row_bytes);
    if (bias) std::memcpy(new_bias + to * bias_bytes, bias + from * bias_bytes, bias_bytes);
    if (by_output) new_scales[to] = view.scales[from];
  }
  WeightView ordered = view;
  ordered.data = new_rows;
  ordered.bias = new_bias;
  ordered.scales = new_scales;
  return ordered;
}

WeightView WeightSource::quantised(const WeightView& view) {
  const auto in = static_cast<std::size_t>(view.in);
  std::byte* const codes = room_for(view.out * view.in, DType::e4m3);
  std::vector<float>& scales = scales_.emplace_back(static_cast<std::size_t>(view.out));
  on_all_cores(view.out, view.out * view.in, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(in);
    for (auto output = static_cast<std::size_t>(begin); output < static_cast<std::size_t>(end); ++output) {
      const auto* const row = static_cast<const std::byte*>(view.data) + output * in * size_of(view.dtype);
      convert_values(row, view.dtype, view.in, DType::f32, std::as_writable_bytes(std::span(values)).data());
      scales[output] = quantise_to_e4m3(values, {codes + output * in, in});
    }
  });
  WeightView quantised = view;
  quantised.data = codes;
  quantised.dtype = DType::e4m3;
  quantised.scales = scales;
  quantised.bias_dtype = view.bias_type();
  return quantised;
}

WeightView WeightSource::share_of_outputs(const WeightView& whole, Share mine) const {
  const auto skip = [&](const void* data, std::int64_t elements, DType dtype) {
    return static_cast<const std::byte*>(data) + static_cast<std::size_t>(elements) * size_of(dtype);
  };
  WeightView view = whole;
  view.out = mine.count;
  view.data = skip(whole.data, mine.first * whole.in, whole.dtype);
  if (whole.bias) view.bias = skip(whole.bias, mine.first, whole.bias_type());
  if (whole.scales.size() > 1)
    view.scales =
        whole.scales.subspan(static_cast<std::size_t>(mine.first), static_cast<std::size_t>(mine.count));
  return view;
}

// A copy: in the checkpoint the share lies in as many pieces as there are outputs.
WeightView WeightSource::share_of_inputs(const WeightView& whole) {
  const Share mine = share_of(whole.in, place_);
  const std::size_t element = size_of(whole.dtype);
  const auto row_bytes = static_cast<std::size_t>(mine.count) * element;
  std::byte* const rows = room_for(whole.out * mine.count, whole.dtype);
  const auto* from =
      static_cast<const std::byte*>(whole.data) + static_cast<std::size_t>(mine.first) * element;
  on_all_cores(whole.out, whole.out * mine.count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t output = begin; output < end; ++output)
      std::memcpy(rows + static_cast<std::size_t>(output) * row_bytes,
                  from + static_cast<std::size_t>(output * whole.in) * element, row_bytes);
  });
  WeightView view = whole;
  view.in = mine.count;
  view.data = rows;
  if (place_.rank != 0) view.bias = nullptr;
  return view;
}

Linear WeightSource::pack(std::int64_t in, std::span<const Projection> projections, Split split) {
  std::vector<WeightView> views;
  scales_.clear();
  expanded_.clear();
  for (const Projection& wanted : projections) {
    if (error_) return {};
    const auto view = projection(in, wanted, split);
    if (!view) return {};
    views.push_back(*view);
  }
  if (!ops_) return {};
  return keep_error(ops_->pack(views)).value_or(Linear());
}

Linear WeightSource::linear(std::int64_t in, std::span<const Projection> projections, Split split) {
  Linear packed = pack(in, projections, split);
  if (!error_ && !adapters_.empty()) packed = adapted(packed, in, projections, split);
  if (error_) return {};
  for (const Projection& wanted : projections) take(wanted);
  return packed;
}

Linear WeightSource::adapted(const Linear& packed, std::int64_t in, std::span<const Projection> projections,
                             Split split) {
  std::vector<AdaptedProjection> whole;
  for (const Projection& wanted : projections) {
    if (wanted.keeps_type) return packed;
    adapted_.insert(wanted.name);
    AdaptedProjection& part = whole.emplace_back();
    part = {wanted.name,
            wanted.tensor_outputs(),
            in,
            {},
            split == Split::inputs ? share_of(in, place_) : Share{0, in}};
    const Share rows = outputs_of(wanted, split);
    const auto head = static_cast<std::int64_t>(wanted.head_order.size());
    for (std::int64_t row = 0; row < rows.count; ++row)
      part.outputs.push_back(
          rows.first +
          (head == 0 ? row : row / head * head + wanted.head_order[static_cast<std::size_t>(row % head)]));
  }
  std::vector<AdapterMatrices> matrices;
  for (const Adapter& adapter : adapters_) {
    if (!ops_) {
      if (auto fits = adapter.check(whole); !fits && !error_) error_ = std::move(fits).error();
      continue;
    }
    auto made = keep_error(adapter.matrices(whole));
    if (!made) return {};
    matrices.push_back(*std::move(made));
  }
  if (!ops_) return packed;
  std::vector<AdapterView> views;
  for (const AdapterMatrices& of_adapter : matrices) views.push_back(of_adapter.view());
  if (std::ranges::none_of(views, [](const AdapterView& view) { return view.down.data != nullptr; }))
    return packed;
  return keep_error(ops_->adapt(packed, views)).value_or(Linear());
}

void WeightSource::no_adapter_left_over() {
  for (const Adapter& adapter : adapters_) {
    const auto tensor = adapter.tensor_outside(adapted_);
    if (error_ || !tensor) continue;
    error_ = make_error(ErrorCode::unsupported,
                        "adapter '" + adapter.name() + "': the tensor '" + *tensor +
                            "' is for none of the projections that adapters may change: those of attention, "
                            "and of an FFN without experts",
                        *tensor);
  }
}

Linear WeightSource::linear_again(std::int64_t in, const Projection& projection, Split split) {
  return pack(in, std::span(&projection, 1), split);
}

void WeightSource::absent(const std::string& name, const std::string& field) {
  if (error_ || checkpoint_.find(name) == nullptr) return;
  error_ = make_error(
      ErrorCode::invalid_argument,
      "the checkpoint has the tensor '" + name + "', which config.json does not ask for: check " + field,
      field);
}

void WeightSource::absent_packed(const std::string& name, const std::string& field) {
  if (packed_.kind != PackedWeights::Kind::none) absent(codes_of(name, packed_.kind), field);
}

Linear WeightSource::vector(const std::string& name, std::int64_t size, VectorChange change, Split split) {
  if (error_) return {};
  auto view = keep_error(checkpoint_.vector(name, size));
  if (!view) return {};
  std::vector<float> values(static_cast<std::size_t>(size));
  if (change.factor != 1.0F || change.offset != 0.0F || !change.order.empty()) {
    convert_values(view->data, view->dtype, size, DType::f32,
                   std::as_writable_bytes(std::span(values)).data());
    const std::vector<float> was = values;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t from = change.order.empty() ? i : static_cast<std::size_t>(change.order[i]);
      values[i] = (was[from] + change.offset) * change.factor;
    }
    view->data = values.data();
    view->dtype = DType::f32;
  }
  Linear packed;
  if (ops_) {
    const Share mine = split == Split::outputs ? share_of(size, place_) : Share{0, size};
    view->data = static_cast<const std::byte*>(view->data) +
                 static_cast<std::size_t>(mine.first) * size_of(view->dtype);
    view->in = mine.count;
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
  expanded_.clear();
  std::vector<Projection> taken;
  const auto read = [&](std::int32_t index, const char* name, std::int64_t rows, std::int64_t cols,
                        Split split) {
    taken.push_back({prefix + std::to_string(index) + "." + name, rows, false});
    const auto view = projection(cols, taken.back(), split);
    return view.value_or(WeightView{});
  };
  for (std::int32_t e = 0; e < count && !error_; ++e) {
    ExpertView view;
    view.gate = read(e, names.gate, ffn, in, Split::outputs);
    if (!error_) view.up = read(e, names.up, ffn, in, Split::outputs);
    if (!error_) view.down = read(e, names.down, in, ffn, Split::inputs);
    views.push_back(view);
  }
  const std::string beyond = prefix + std::to_string(count) + "." + names.gate;
  absent(beyond + ".weight", "the number of experts");
  absent_packed(beyond, "the number of experts");
  if (error_) return {};
  Experts packed;
  if (ops_) {
    auto result = keep_error(ops_->pack_experts(views));
    if (!result) return {};
    packed = *std::move(result);
  }
  for (const Projection& wanted : taken) take(wanted);
  return packed;
}

WeightView WeightSource::stacked(const StackedExperts::Stack& stack, std::int64_t expert,
                                 StackedExperts::Outputs outputs) {
  const DType type = stack.type();
  const std::int64_t in = stack.in();
  WeightView view{.dtype = type, .out = outputs.count, .in = in};
  std::byte* const rows = room_for(outputs.count * in, type);
  std::byte* const biases = room_for(outputs.count, type);
  on_all_cores(outputs.count, outputs.count * in, [&](std::int64_t begin, std::int64_t end) {
    stack.weight(expert, {outputs.first + begin * outputs.step, outputs.step, end - begin}, type,
                 rows + static_cast<std::size_t>(begin * in) * size_of(type));
  });
  stack.bias(expert, outputs, type, biases);
  view.data = rows;
  view.bias = biases;
  return quantization_ == Quantization::fp8 ? quantised(view) : view;
}

Experts WeightSource::experts_of_one_tensor(const std::string& prefix, std::int32_t count, std::int64_t in,
                                            std::int64_t ffn, const MixtureNames& names) {
  if (error_) return {};
  scales_.clear();
  expanded_.clear();
  const auto stacks = keep_error(
      StackedExperts::open(checkpoint_, prefix + names.gate, prefix + names.down, {count, in, ffn}));
  if (!stacks) return {};
  Experts packed;
  if (ops_) {
    const Share mine = share_of(ffn, place_);
    std::vector<ExpertView> views;
    for (std::int32_t e = 0; e < count; ++e) {
      ExpertView& view = views.emplace_back();
      view.gate = stacked(stacks->gate_up(), e, {2 * mine.first, 2, mine.count});
      view.up = stacked(stacks->gate_up(), e, {2 * mine.first + 1, 2, mine.count});
      view.down = stacked(stacks->down(), e, {0, 1, in});
      if (place_.width == 1) continue;
      view.down = share_of_inputs(view.down);
      if (view.down.bias) continue;  // the first rank's: others add nothing
      std::byte* const nothing = room_for(in, view.down.bias_type());
      std::memset(nothing, 0, static_cast<std::size_t>(in) * size_of(view.down.bias_type()));
      view.down.bias = nothing;
    }
    auto result = keep_error(ops_->pack_experts(views));
    if (!result) return {};
    packed = *std::move(result);
  } else if (quantization_ == Quantization::fp8) {
    fingerprint_ = hash_string("experts rounded to e4m3", fingerprint_);
  }
  for (const std::string& name : stacks->tensors()) take(name);
  return packed;
}

std::optional<DType> WeightSource::dtype_of(const std::string& name) const {
  const Checkpoint::TensorRef* tensor = checkpoint_.find(name);
  return tensor ? tensor->entry.dtype : std::nullopt;
}

}  // namespace baton
