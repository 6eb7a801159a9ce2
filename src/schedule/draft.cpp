#include "schedule/draft.hpp"

#include <algorithm>

namespace baton {
namespace {

constexpr std::size_t kLongestMatch = 4, kShortestMatch = 2;
constexpr std::size_t kLookBack = 1 << 15;  // tokens: bounds what a guess costs the host
constexpr std::int32_t kLongestPause = 32;  // steps

}  // namespace

std::vector<TokenId> look_up_draft(std::span<const TokenId> tokens, std::size_t most) {
  tokens = tokens.last(std::min(tokens.size(), kLookBack));
  const std::size_t size = tokens.size();
  std::size_t best = kShortestMatch - 1, behind = 0;
  for (std::size_t end = size; end-- > 1 && best < kLongestMatch;) {  // a copy that ends before token `end`
    if (tokens[end - 1] != tokens[size - 1]) continue;
    std::size_t length = 1;
    while (length < std::min(end, kLongestMatch) && tokens[end - 1 - length] == tokens[size - 1 - length])
      ++length;
    if (length > best) best = length, behind = end;
  }
  if (best < kShortestMatch) return {};
  std::vector<TokenId> draft;
  for (std::size_t i = behind; draft.size() < most; ++i)
    draft.push_back(i < size ? tokens[i] : draft[i - size]);  // what repeats itself goes on doing so
  return draft;
}

std::int32_t DraftLength::next() {
  if (pause_ == 0) return length_;
  --pause_;
  return 0;
}

void DraftLength::turned_out(std::int32_t guessed, std::int32_t right) {
  if (right == 0) {
    length_ = 1;
    pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
    return;
  }
  next_pause_ = 1;
  length_ = right < guessed ? right : std::min(2 * length_, most_);
}

}  // namespace baton
