#include "app/transfer_rate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "baton/base/units.hpp"

namespace baton {
namespace {

constexpr Duration kWindow = std::chrono::seconds(10);
constexpr double kLongestRest = 360'000;  // seconds: beyond 100 hours nothing is said

}  // namespace

void TransferRate::add(TimePoint now, std::uint64_t done) {
  if (!points_.empty() && done < points_.back().done) points_.clear();  // a file started over
  points_.push_back({now, done});
  while (points_.size() > 2 && now - points_[1].when >= kWindow) points_.pop_front();
}

double TransferRate::bytes_per_second() const {
  if (points_.size() < 2) return 0;
  const double seconds = to_seconds(points_.back().when - points_.front().when);
  return seconds <= 0 ? 0 : static_cast<double>(points_.back().done - points_.front().done) / seconds;
}

std::string TransferRate::text(std::uint64_t total) const {
  const std::uint64_t done = points_.empty() ? 0 : points_.back().done;
  std::string text = format_size(done) + " of " + format_size(total);
  const double rate = bytes_per_second();
  if (rate < 1) return text;
  text += "  " + format_size(static_cast<std::uint64_t>(rate)) + "/s";
  const double rest = static_cast<double>(total - std::min(done, total)) / rate;
  if (rest <= kLongestRest) text += "  " + clock_text(std::chrono::seconds(std::lround(rest)));
  return text;
}

std::string clock_text(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  char text[48];
  if (seconds >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02d:%02d", static_cast<long long>(seconds / 3600),
                  static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60));
  else
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(seconds / 60),
                  static_cast<int>(seconds % 60));
  return text;
}

}  // namespace baton
