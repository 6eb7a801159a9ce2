#include "baton/model/capability.hpp"

#include <algorithm>

namespace baton {
namespace {

constexpr std::string_view kArchitectures[] = {"LlamaForCausalLM",   "MistralForCausalLM",
                                               "MixtralForCausalLM", "Qwen2ForCausalLM",
                                               "Qwen3ForCausalLM",   "Qwen3MoeForCausalLM"};
constexpr Precision kWeights[] = {Precision::f32, Precision::bf16, Precision::fp8};

}  // namespace

const Capability& capability() {
  static constexpr Capability kTable{kArchitectures, kWeights};
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
  if (std::ranges::find(can.weights, weights) == can.weights.end())
    return make_error(ErrorCode::unsupported,
                      "baton serve does not run " + std::string(to_string(weights)) +
                          " weights yet; it runs bf16, f16, f32 and fp8",
                      "--precision");
  if (weights == Precision::fp8 && model.block_scales)
    return make_error(ErrorCode::unsupported,
                      "baton serve expands fp8 weights whose scales are for blocks to bf16: --precision bf16 "
                      "plans that",
                      "--precision");
  return {};
}

}  // namespace baton
