#include "baton/model/capability.hpp"

#include <algorithm>
#include <utility>

#include "model/family.hpp"

namespace baton {
namespace {

constexpr Precision kWeights[] = {Precision::f32, Precision::bf16, Precision::fp8};

}  // namespace

const Capability& capability() {
  static const Capability kTable{architectures(), kWeights};
  return kTable;
}

std::string supported_architectures() {
  std::string list;
  for (const std::string_view name : capability().architectures)
    list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

Result<void> runnable(const ModelShape& model, Precision weights) {
  const Capability& can = capability();
  if (!model.architecture.empty() &&
      std::ranges::find(can.architectures, model.architecture) == can.architectures.end())
    return make_error(
        ErrorCode::unsupported,
        "baton serve does not run " + model.architecture + " yet; it runs " + supported_architectures(),
        "architectures");
  const bool expands = weights == Precision::int4 || (weights == Precision::fp4 && model.stored == weights);
  if (expands)
    return make_error(ErrorCode::unsupported,
                      "baton serve expands " + std::string(to_string(weights)) +
                          " weights when it loads them: plan with bf16, or with fp8, to which "
                          "--quantization fp8 rounds them",
                      "--precision");
  if (std::ranges::find(can.weights, weights) == can.weights.end())
    return make_error(ErrorCode::unsupported,
                      "baton serve does not run " + std::string(to_string(weights)) +
                          " weights yet; it runs bf16, f16, f32 and fp8",
                      "--precision");
  return {};
}

Result<void> shareable(const ModelShape& model, int width) {
  const int most = capability().tensor;
  if (width < 1 || width > most)
    return make_error(
        ErrorCode::unsupported,
        "1 to " + std::to_string(most) + " devices can share each layer, not " + std::to_string(width),
        "--tensor-parallel");
  // Mixtral's experts are as wide as intermediate_size says; others have a field of their own.
  const bool own_size = model.dense_layers > 0 || model.expert_ffn != model.ffn;
  const std::pair<const char*, double> parts[] = {
      {"num_attention_heads", model.query_heads},
      {"num_key_value_heads", model.kv_heads},
      {"intermediate_size", model.dense_layers > 0 ? model.ffn : 0},
      {own_size ? "moe_intermediate_size" : "intermediate_size", model.experts > 0 ? model.expert_ffn : 0},
  };
  for (const auto& [field, size] : parts) {
    const auto count = static_cast<std::int64_t>(size);
    if (count % width != 0)
      return make_error(ErrorCode::unsupported,
                        "the model's " + std::string(field) + " is " + std::to_string(count) +
                            ", which is no multiple of the " + std::to_string(width) +
                            " devices that are to share each layer",
                        field);
  }
  return {};
}

}  // namespace baton
