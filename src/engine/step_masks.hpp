// StepMasks: what the sequences of one step may go on with, as the words that samplers take. Here because
// host and device sampling share it, and because it is worked out while the device computes.
//
// Who writes a grammar decides what its masks cost, and everybody in the step waits for them. So a step has
// kBudget for all of its masks and for taking the tokens that are sampled by them, and rows that are not
// reached in it are deferred. Quick masks go first, so that who follows an ordinary grammar does not notice;
// slow ones in order of how often they were deferred. The row that was deferred most often has its turn in
// any case. So each row has it after at most as many steps as there are rows, and a step's masks take no
// longer than the budget and two masks.
//
// Invariant: a row whose words are asked for has a token that is allowed and not banned. Engine thread only;
// the memory is kept from step to step.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

class StepMasks {
 public:
  static constexpr Duration kBudget = std::chrono::milliseconds(20);
  // A sequence whose last mask took less is expected to have a quick one again.
  static constexpr Duration kQuick = std::chrono::milliseconds(1);

  explicit StepMasks(const Clock& clock) : clock_(clock) {}

  // For every row of the plan that samples and has a grammar. A row that cannot go on has its result
  // afterwards (an error, that it is complete, or deferred), and no words.
  void write(const StepPlan& plan, std::size_t vocabulary, std::vector<RowResult>& results);
  // Empty where the row has no mask. Until the next write.
  std::span<const std::uint32_t> of(std::size_t row) const;

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  struct Turn {
    bool slow;                  // or not known yet
    std::int32_t not_deferred;  // -Sequence::deferred
    std::size_t row;
    auto operator<=>(const Turn&) const = default;
  };
  void order(const StepPlan& plan);

  const Clock& clock_;
  std::vector<Turn> turns_;
  std::vector<std::uint32_t> words_;  // [masks, words a mask]
  std::vector<std::size_t> mask_of_;  // by row of the plan: which of the masks; empty where no row has one
  std::size_t words_per_mask_ = 0;
};

}  // namespace baton
