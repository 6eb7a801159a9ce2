#include "text/answer/marker_search.hpp"

#include <utility>

#include "text/answer/events.hpp"

namespace baton::text {
namespace {

// White space beyond this is given away from its front: nobody misses it, and what is held stays small.
constexpr std::size_t kMostSpace = 64;

}  // namespace

std::optional<std::size_t> MarkerSearch::take(char c, std::string& free) {
  if (partial_.empty() && is_space(c)) {
    space_ += c;
    if (space_.size() > kMostSpace) {
      free += space_.front();
      space_.erase(0, 1);
    }
    return std::nullopt;
  }
  partial_ += c;
  while (true) {
    for (std::size_t i = 0; i < markers_.size(); ++i) {
      if (!markers_[i].starts_with(partial_)) continue;
      return markers_[i].size() == partial_.size() ? std::optional(i) : std::nullopt;
    }
    free += std::exchange(space_, {});
    free += partial_.front();
    partial_.erase(0, 1);
    if (partial_.empty()) return std::nullopt;
    if (partial_.size() == 1 && is_space(c)) {
      space_ = std::exchange(partial_, {});
      return std::nullopt;
    }
  }
}

std::string MarkerSearch::take_held() {
  std::string held = std::exchange(space_, {});
  held += std::exchange(partial_, {});
  return held;
}

bool breaks_off_in(std::string_view marker, std::string_view held) {
  while (!held.empty() && is_space(held.front())) held.remove_prefix(1);
  return !held.empty() && marker.starts_with(held);
}

}  // namespace baton::text
