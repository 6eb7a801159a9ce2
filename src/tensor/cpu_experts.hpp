// Mixtures of experts on the host: each expert is two packed matrices, and a step visits the experts that
// some row has chosen, in order of their ids.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu_linear.hpp"

namespace baton {

struct PackedExperts final : Experts::Body {
  struct Expert {
    Linear gate_up;  // [in] -> [2 * ffn]
    Linear down;     // [ffn] -> [in]
  };
  std::vector<Expert> experts;
};

Result<Experts> pack_experts(std::span<const ExpertView> experts, const kernels::Kernels& kernels,
                             ThreadPool& pool);

struct ChosenExpert {
  std::int32_t expert = 0;
  float weight = 0.0F;
};

// What a row whose router says `outputs` chooses: `choice.per_token` experts, the best first. A NaN is chosen
// last.
void choose_experts(std::span<const float> outputs, const ExpertChoice& choice,
                    std::span<ChosenExpert> chosen);

}  // namespace baton
