#include "engine/step_masks.hpp"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "baton/schedule/stop_rules.hpp"

namespace baton {
namespace {

bool has(std::span<const std::uint32_t> mask, TokenId token) {
  const auto i = static_cast<std::size_t>(token);
  return token >= 0 && i / 32 < mask.size() && (mask[i / 32] >> (i % 32) & 1U) != 0;
}

Error cannot_follow(const char* why) {
  return make_error(ErrorCode::invalid_argument,
                    std::string("the output cannot go on in its grammar: ") + why, "grammar");
}

// What becomes of a row that has a grammar; its mask is in `mask` if it samples.
RowResult write_mask(const Sequence& sequence, std::size_t vocabulary, std::span<std::uint32_t> mask) {
  RowResult result;
  if (!sequence.mask->write(mask)) {
    result.error = cannot_follow(
        "no token of this model's vocabulary fits there, or the grammar can be read in too many ways at once "
        "or costs too much to follow");
    return result;
  }
  if (vocabulary % 32 != 0) mask.back() &= (std::uint32_t{1} << vocabulary % 32) - 1;
  const std::vector<TokenId> banned = banned_tokens(sequence);
  const auto is_banned = [&](TokenId token) { return std::ranges::find(banned, token) != banned.end(); };
  for (std::size_t word = 0; word < mask.size(); ++word)
    for (std::uint32_t rest = mask[word]; rest != 0; rest &= rest - 1)
      if (!is_banned(static_cast<TokenId>(word * 32) + std::countr_zero(rest))) return result;
  const auto& ends = sequence.request.stop.eos_token_ids;
  result.complete = std::ranges::any_of(ends, [&](TokenId end) { return has(mask, end); });
  if (!result.complete)
    result.error = cannot_follow("every token that may come there is banned by min_tokens or ignore_eos");
  return result;
}

}  // namespace

void StepMasks::order(const StepPlan& plan) {
  turns_.clear();
  for (std::size_t row = 0; row < plan.rows.size(); ++row) {
    const Sequence& sequence = *plan.rows[row].sequence;
    if (!plan.rows[row].sample || !sequence.mask) continue;
    const bool slow = !sequence.mask_time || *sequence.mask_time >= kQuick;
    turns_.push_back({slow, -sequence.deferred, row});
  }
  std::ranges::sort(turns_);
}

void StepMasks::write(const StepPlan& plan, std::size_t vocabulary, std::vector<RowResult>& results) {
  mask_of_.clear();
  order(plan);
  if (turns_.empty()) return;
  mask_of_.resize(plan.rows.size(), kNone);
  words_per_mask_ = mask_words(vocabulary);
  words_.resize(std::max(words_.size(), turns_.size() * words_per_mask_));
  const std::size_t longest = std::ranges::min_element(turns_, {}, &Turn::not_deferred)->row;
  TimePoint time = clock_.now();
  Duration spent{};
  std::size_t masks = 0;
  for (const Turn& turn : turns_) {
    RowResult& result = results[turn.row];
    if (spent >= kBudget && turn.row != longest) {
      result.deferred = true;
      continue;
    }
    const auto words = std::span(words_).subspan(masks * words_per_mask_, words_per_mask_);
    const Sequence& sequence = *plan.rows[turn.row].sequence;
    result = write_mask(sequence, vocabulary, words);
    const TimePoint begun = std::exchange(time, clock_.now());
    result.mask_time = time - begun + sequence.mask->advance_time();
    spent += *result.mask_time;
    if (!result.error && !result.complete) mask_of_[turn.row] = masks++;
  }
}

std::span<const std::uint32_t> StepMasks::of(std::size_t row) const {
  if (mask_of_.empty() || mask_of_[row] == kNone) return {};
  return std::span(words_).subspan(mask_of_[row] * words_per_mask_, words_per_mask_);
}

}  // namespace baton
