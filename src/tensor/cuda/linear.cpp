#include "linear.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "baton/tensor/convert.hpp"
#include "runtime.hpp"

namespace baton {
namespace {

// Copies `count` elements to the device, converted where the types differ.
Result<void> copy_values(const void* values, DType from, std::int64_t count, DType to, std::byte* target) {
  const std::size_t bytes = static_cast<std::size_t>(count) * size_of(to);
  if (from == to) return copy_to_gpu({static_cast<const std::byte*>(values), bytes}, target);
  std::vector<std::byte> converted(bytes);
  convert_values(values, from, count, to, converted.data());
  return copy_to_gpu(converted, target);
}

Result<void> copy_weight(const WeightView& view, DType to, std::byte* target) {
  if (view.dtype == DType::e4m3 && to != DType::e4m3) return copy_to_gpu(expanded(view, to), target);
  return copy_values(view.data, view.dtype, view.out * view.in, to, target);
}

Result<void> copy_scales(const WeightView& view, std::byte* target) {
  std::vector<float> scales(static_cast<std::size_t>(view.out));
  for (std::int64_t output = 0; output < view.out; ++output)
    scales[static_cast<std::size_t>(output)] = view.scale_of(output);
  return copy_values(scales.data(), DType::f32, view.out, DType::f32, target);
}

Result<void> allocate_into(Buffer& buffer, Device device, std::int64_t count, DType type) {
  auto memory = Buffer::allocate(device, static_cast<std::size_t>(count) * size_of(type));
  if (!memory) return std::move(memory).error();
  buffer = *std::move(memory);
  return {};
}

}  // namespace

cuda::Element element_on_gpu(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return cuda::Element::f16;
    case DType::bf16:
      return cuda::Element::bf16;
    case DType::e4m3:
      return cuda::Element::e4m3;
    case DType::f32:
    case DType::i32:
      break;
  }
  return cuda::Element::f32;
}

Result<void> check_weights(std::span<const WeightView> weights) {
  if (weights.empty()) return make_error(ErrorCode::invalid_argument, "no weights to pack");
  for (const WeightView& view : weights) {
    if (view.dtype == DType::i32)
      return make_error(ErrorCode::unsupported, "weights of type " + std::string(to_string(view.dtype)),
                        "dtype");
    if (!has_its_scales(view))
      return make_error(ErrorCode::invalid_argument, "an e4m3 weight needs one scale, or one for each output",
                        "scales");
    if (view.in != weights[0].in || view.out <= 0 || view.in <= 0 || !view.data)
      return make_error(ErrorCode::invalid_argument,
                        "weights that are packed together must share their input size");
    if ((view.bias == nullptr) != (weights[0].bias == nullptr))
      return make_error(ErrorCode::invalid_argument,
                        "weights that are packed together must all have a bias, or none");
  }
  return {};
}

std::vector<std::byte> expanded(const WeightView& view, DType to) {
  const std::size_t row_bytes = static_cast<std::size_t>(view.in) * size_of(to);
  std::vector<std::byte> values(static_cast<std::size_t>(view.out) * row_bytes);
  const auto* from = static_cast<const std::byte*>(view.data);
  for (std::int64_t output = 0; output < view.out; ++output)
    convert_values(from + output * view.in * static_cast<std::int64_t>(size_of(view.dtype)), view.dtype,
                   view.in, to, values.data() + static_cast<std::size_t>(output) * row_bytes,
                   view.dtype == DType::e4m3 ? view.scale_of(output) : 1.0F);
  return values;
}

Result<void> copy_to_gpu(std::span<const std::byte> values, std::byte* target) {
  cudaError_t copied = cudaMemcpy(target, values.data(), values.size(), cudaMemcpyHostToDevice);
  // A copy from pageable memory may return before its last piece has landed.
  if (copied == cudaSuccess) copied = cudaStreamSynchronize(nullptr);
  if (copied != cudaSuccess) return cuda_error(copied, "cannot copy weights to the GPU");
  return {};
}

Result<std::shared_ptr<const CudaMatrix>> pack_on_gpu(Device device, std::span<const WeightView> weights,
                                                      DType compute, Codes codes) {
  if (auto checked = check_weights(weights); !checked) return std::move(checked).error();
  const bool all_codes =
      std::ranges::all_of(weights, [](const WeightView& view) { return view.dtype == DType::e4m3; });
  const DType stored = codes == Codes::keep && all_codes ? DType::e4m3 : compute;
  auto body = std::make_shared<CudaMatrix>();
  body->in = weights[0].in;
  for (const WeightView& view : weights) body->out += view.out;
  body->element = element_on_gpu(stored);
  auto had = allocate_into(body->weight, device, body->out * body->in, stored);
  if (had && weights[0].bias) had = allocate_into(body->bias, device, body->out, compute);
  if (had && stored == DType::e4m3) had = allocate_into(body->scales, device, body->out, DType::f32);
  if (!had) return std::move(had).error();
  const CurrentDevice current(device.index);
  std::size_t first = 0;
  for (const WeightView& view : weights) {
    auto copied = copy_weight(
        view, stored, body->weight.data() + first * static_cast<std::size_t>(body->in) * size_of(stored));
    if (copied && view.bias)
      copied = copy_values(view.bias, view.bias_type(), view.out, compute,
                           body->bias.data() + first * size_of(compute));
    if (copied && stored == DType::e4m3)
      copied = copy_scales(view, body->scales.data() + first * sizeof(float));
    if (!copied) return std::move(copied).error();
    first += static_cast<std::size_t>(view.out);
  }
  return std::shared_ptr<const CudaMatrix>(std::move(body));
}

Result<std::shared_ptr<const CudaVector>> pack_vector_on_gpu(Device device, const WeightView& weight) {
  if (auto checked = check_weights({&weight, 1}); !checked) return std::move(checked).error();
  if (weight.dtype == DType::e4m3)
    return make_error(ErrorCode::unsupported, "a vector of type e4m3", "dtype");
  auto body = std::make_shared<CudaVector>();
  body->in = weight.in;
  body->out = 1;
  auto memory = Buffer::allocate(device, static_cast<std::size_t>(weight.in) * sizeof(float));
  if (!memory) return std::move(memory).error();
  body->values = *std::move(memory);
  const CurrentDevice current(device.index);
  if (auto copied = copy_values(weight.data, weight.dtype, weight.in, DType::f32, body->values.data());
      !copied)
    return std::move(copied).error();
  return std::shared_ptr<const CudaVector>(std::move(body));
}

}  // namespace baton
