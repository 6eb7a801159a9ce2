// StepMasks: what the sequences of one step may go on with, as the words that samplers take. Here because
// host and device sampling share it, and because it is worked out while the device computes.
//
// Invariant: a row whose words are asked for has a token that is allowed and not banned. Engine thread only;
// the memory is kept from step to step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "baton/schedule/scheduler.hpp"

namespace baton {

class StepMasks {
 public:
  // For every row of the plan that samples and has a grammar. A row that cannot go on has its result
  // afterwards (an error, or that it is complete), and no words.
  void write(const StepPlan& plan, std::size_t vocabulary, std::vector<RowResult>& results);
  // Empty where the row has no mask. Until the next write.
  std::span<const std::uint32_t> of(std::size_t row) const;

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::vector<std::uint32_t> words_;  // [masks, words a mask]
  std::vector<std::size_t> mask_of_;  // by row of the plan: which of the masks; empty where no row has one
  std::size_t words_per_mask_ = 0;
};

}  // namespace baton
