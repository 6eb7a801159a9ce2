#include "text/char_set.hpp"

#include <algorithm>

namespace baton::text {
namespace {

constexpr char32_t kSurrogatesLow = 0xD800;
constexpr char32_t kSurrogatesHigh = 0xDFFF;

}  // namespace

CharSet::CharSet(const std::vector<Range>& ranges) {
  std::vector<Range> parts;
  for (const Range& range : ranges) {
    parts.push_back({range.low, std::min<char32_t>(range.high, kSurrogatesLow - 1)});
    parts.push_back(
        {std::max<char32_t>(range.low, kSurrogatesHigh + 1), std::min(range.high, kLastCharacter)});
  }
  std::erase_if(parts, [](const Range& part) { return part.low > part.high; });
  std::ranges::sort(parts, {}, &Range::low);
  for (const Range& part : parts) {
    if (!ranges_.empty() && part.low <= ranges_.back().high + 1) {
      ranges_.back().high = std::max(ranges_.back().high, part.high);
    } else {
      ranges_.push_back(part);
    }
  }
}

CharSet CharSet::complement() const {
  std::vector<Range> others;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.low > next) others.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kLastCharacter) others.push_back({next, kLastCharacter});
  return CharSet(others);
}

bool CharSet::contains(char32_t character) const {
  return std::ranges::any_of(ranges_,
                             [&](const Range& r) { return r.low <= character && character <= r.high; });
}

std::optional<char32_t> CharSet::single() const {
  if (ranges_.size() != 1 || ranges_[0].low != ranges_[0].high) return std::nullopt;
  return ranges_[0].low;
}

}  // namespace baton::text
