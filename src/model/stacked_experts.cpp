#include "model/stacked_experts.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "baton/tensor/convert.hpp"

namespace baton {
namespace {

constexpr std::int64_t kBlock = 32;  // values that share a scale
constexpr std::int64_t kBlockBytes = 16;
constexpr std::int64_t kRowsAtOnce = 32;  // of floats, which lie across the rows that are wanted
constexpr std::array<float, 16> kE2m1{0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                      -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

}  // namespace

Result<const Checkpoint::TensorRef*> StackedExperts::tensor(const Checkpoint& checkpoint,
                                                            const std::string& name,
                                                            const std::vector<std::int64_t>& shape,
                                                            bool codes) {
  const Checkpoint::TensorRef* found = checkpoint.find(name);
  if (!found) return make_error(ErrorCode::corrupt, "the checkpoint has no tensor '" + name + "'", name);
  const SafetensorsEntry& entry = found->entry;
  const bool fits = codes ? entry.dtype_name == "U8" : entry.dtype && *entry.dtype != DType::e4m3;
  if (!fits || entry.shape != shape)
    return make_error(ErrorCode::corrupt,
                      "tensor '" + name + "' is " + entry.dtype_name + ' ' + shape_to_string(entry.shape) +
                          ", expected " + (codes ? "U8 " : "F32, F16 or BF16 ") + shape_to_string(shape),
                      name);
  tensors_.push_back(name);
  return found;
}

Result<StackedExperts::Stack> StackedExperts::open_stack(const Checkpoint& checkpoint,
                                                         const std::string& name, std::int64_t experts,
                                                         std::int64_t out, std::int64_t in) {
  Stack stack;
  stack.out_ = out;
  stack.in_ = in;
  if (checkpoint.find(name + "_blocks") != nullptr) {
    if (in % kBlock != 0)
      return make_error(ErrorCode::unsupported,
                        "'" + name + "_blocks' is of " + std::to_string(in) +
                            " inputs, must be a multiple of " + std::to_string(kBlock),
                        name + "_blocks");
    const auto blocks = tensor(checkpoint, name + "_blocks", {experts, out, in / kBlock, kBlockBytes}, true);
    if (!blocks) return blocks.error();
    const auto scales = tensor(checkpoint, name + "_scales", {experts, out, in / kBlock}, true);
    if (!scales) return scales.error();
    stack.values_ = checkpoint.bytes(**blocks).data();
    stack.scales_ = reinterpret_cast<const std::uint8_t*>(checkpoint.bytes(**scales).data());
    if (std::find(stack.scales_, stack.scales_ + experts * out * in / kBlock, 0xFF) !=
        stack.scales_ + experts * out * in / kBlock)
      return make_error(ErrorCode::corrupt, "tensor '" + name + "_scales' holds NaN", name + "_scales");
  } else {
    const auto values = tensor(checkpoint, name, {experts, in, out}, false);
    if (!values) return values.error();
    stack.values_ = checkpoint.bytes(**values).data();
    stack.type_ = *(*values)->entry.dtype;
  }
  const auto biases = tensor(checkpoint, name + "_bias", {experts, out}, false);
  if (!biases) return biases.error();
  stack.biases_ = checkpoint.bytes(**biases).data();
  stack.bias_type_ = *(*biases)->entry.dtype;
  return stack;
}

Result<StackedExperts> StackedExperts::open(const Checkpoint& checkpoint, const std::string& gate_up,
                                            const std::string& down, Size size) {
  StackedExperts experts;
  auto first = experts.open_stack(checkpoint, gate_up, size.experts, 2 * size.ffn, size.in);
  if (!first) return std::move(first).error();
  auto second = experts.open_stack(checkpoint, down, size.experts, size.in, size.ffn);
  if (!second) return std::move(second).error();
  experts.gate_up_ = *first;
  experts.down_ = *second;
  return experts;
}

void StackedExperts::Stack::read_codes(std::int64_t expert, Outputs outputs, std::span<float> rows) const {
  const std::int64_t blocks = in_ / kBlock;
  float* to = rows.data();
  for (std::int64_t i = 0; i < outputs.count; ++i) {
    const std::int64_t row = (expert * out_ + outputs.first + i * outputs.step) * blocks;
    for (std::int64_t block = row; block < row + blocks; ++block) {
      const float scale = std::ldexp(1.0F, scales_[block] - 127);
      for (std::int64_t byte = block * kBlockBytes; byte < (block + 1) * kBlockBytes; ++byte) {
        const auto two = static_cast<std::size_t>(values_[byte]);
        *to++ = kE2m1[two & 15] * scale;
        *to++ = kE2m1[two >> 4] * scale;
      }
    }
  }
}

void StackedExperts::Stack::read_floats(std::int64_t expert, Outputs outputs, std::span<float> rows) const {
  const std::int64_t span = (outputs.count - 1) * outputs.step + 1;
  std::vector<float> across(static_cast<std::size_t>(span));
  for (std::int64_t i = 0; i < in_; ++i) {
    const auto at = static_cast<std::size_t>((expert * in_ + i) * out_ + outputs.first);
    convert_values(values_ + at * size_of(type_), type_, span, DType::f32,
                   std::as_writable_bytes(std::span(across)).data());
    for (std::int64_t o = 0; o < outputs.count; ++o)
      rows[static_cast<std::size_t>(o * in_ + i)] = across[static_cast<std::size_t>(o * outputs.step)];
  }
}

void StackedExperts::Stack::weight(std::int64_t expert, Outputs outputs, DType to, std::byte* rows) const {
  std::vector<float> values(static_cast<std::size_t>(std::min(kRowsAtOnce, outputs.count) * in_));
  for (std::int64_t done = 0; done < outputs.count; done += kRowsAtOnce) {
    const Outputs some{outputs.first + done * outputs.step, outputs.step,
                       std::min(kRowsAtOnce, outputs.count - done)};
    scales_ ? read_codes(expert, some, values) : read_floats(expert, some, values);
    convert_values(values.data(), DType::f32, some.count * in_, to,
                   rows + static_cast<std::size_t>(done * in_) * size_of(to));
  }
}

void StackedExperts::Stack::bias(std::int64_t expert, Outputs outputs, DType to, std::byte* values) const {
  for (std::int64_t o = 0; o < outputs.count; ++o) {
    const auto at = static_cast<std::size_t>(expert * out_ + outputs.first + o * outputs.step);
    convert_values(biases_ + at * size_of(bias_type_), bias_type_, 1, to,
                   values + static_cast<std::size_t>(o) * size_of(to));
  }
}

}  // namespace baton
