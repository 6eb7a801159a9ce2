#include "engine/step_masks.hpp"

#include <algorithm>
#include <bit>

#include "baton/schedule/stop_rules.hpp"

namespace baton {
namespace {

bool has(std::span<const std::uint32_t> mask, TokenId token) {
  const auto i = static_cast<std::size_t>(token);
  return token >= 0 && i / 32 < mask.size() && (mask[i / 32] >> (i % 32) & 1U) != 0;
}

Error cannot_follow() {
  return make_error(ErrorCode::invalid_argument,
                    "the output cannot follow the grammar any further with this model's vocabulary",
                    "grammar");
}

// What becomes of a row that has a grammar; its mask is in `mask` if it samples.
RowResult write_mask(const Sequence& sequence, std::size_t vocabulary, std::span<std::uint32_t> mask) {
  RowResult result;
  if (!sequence.mask->write(mask)) {
    result.error = cannot_follow();
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
  if (!result.complete) result.error = cannot_follow();
  return result;
}

}  // namespace

void StepMasks::write(const StepPlan& plan, std::size_t vocabulary, std::vector<RowResult>& results) {
  std::size_t masks = 0;
  mask_of_.clear();
  for (const PlannedRows& rows : plan.rows) {
    if (!rows.sample || !rows.sequence->mask) continue;
    mask_of_.resize(plan.rows.size(), kNone);
    mask_of_[static_cast<std::size_t>(&rows - plan.rows.data())] = masks++;
  }
  if (masks == 0) return;
  words_per_mask_ = mask_words(vocabulary);
  words_.resize(std::max(words_.size(), masks * words_per_mask_));
  for (std::size_t i = 0; i < mask_of_.size(); ++i) {
    if (mask_of_[i] == kNone) continue;
    const auto words = std::span(words_).subspan(mask_of_[i] * words_per_mask_, words_per_mask_);
    results[i] = write_mask(*plan.rows[i].sequence, vocabulary, words);
    if (results[i].error || results[i].complete) mask_of_[i] = kNone;
  }
}

std::span<const std::uint32_t> StepMasks::of(std::size_t row) const {
  if (mask_of_.empty() || mask_of_[row] == kNone) return {};
  return std::span(words_).subspan(mask_of_[row] * words_per_mask_, words_per_mask_);
}

}  // namespace baton
