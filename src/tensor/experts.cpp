#include "tensor/experts.hpp"

#include <string>

namespace baton {
namespace {

Result<void> check(const WeightView& view, const char* name, std::int64_t out, std::int64_t in, DType dtype,
                   bool bias) {
  if (view.data != nullptr && view.out == out && view.in == in && view.dtype == dtype &&
      (view.bias != nullptr) == bias)
    return {};
  return make_error(ErrorCode::invalid_argument,
                    std::string("an expert's ") + name + " is [" + std::to_string(view.out) + ", " +
                        std::to_string(view.in) + "] of " + std::string(to_string(view.dtype)) +
                        (view.bias ? " with a bias" : "") + ", expected [" + std::to_string(out) + ", " +
                        std::to_string(in) + "] of " + std::string(to_string(dtype)) +
                        (bias ? " with a bias" : ""),
                    name);
}

}  // namespace

Result<void> check_experts(std::span<const ExpertView> experts) {
  if (experts.empty())
    return make_error(ErrorCode::invalid_argument, "there is no expert to pack", "experts");
  if (experts.size() > static_cast<std::size_t>(kMostExperts))
    return make_error(ErrorCode::unsupported,
                      std::to_string(experts.size()) + " experts in a layer; at most " +
                          std::to_string(kMostExperts) + " are supported",
                      "experts");
  const WeightView& first = experts[0].gate;
  if (first.out <= 0 || first.in <= 0)
    return make_error(ErrorCode::invalid_argument, "an expert's gate has no size", "gate");
  const bool bias = first.bias != nullptr;
  for (const ExpertView& expert : experts) {
    if (auto fits = check(expert.gate, "gate", first.out, first.in, first.dtype, bias); !fits) return fits;
    if (auto fits = check(expert.up, "up", first.out, first.in, first.dtype, bias); !fits) return fits;
    if (auto fits = check(expert.down, "down", first.in, first.out, first.dtype, bias); !fits) return fits;
  }
  return {};
}

}  // namespace baton
