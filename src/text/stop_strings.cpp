#include "baton/text/stop_strings.hpp"

#include <algorithm>
#include <utility>

namespace baton {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

StopStrings::Piece StopStrings::push(std::string_view text) {
  Piece piece;
  if (stopped_) {
    piece.stopped = true;
    return piece;
  }
  held_ += text;
  // The earliest match wins; of those, the first in the caller's order.
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      piece.matched = stop;
    }
  }
  if (first != std::string::npos) {
    piece.text = held_.substr(0, first);
    piece.stopped = stopped_ = true;
    held_.clear();
    return piece;
  }
  std::size_t keep = 0;  // the longest end of held_ that begins a stop string
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
    }
  }
  piece.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return piece;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace baton
