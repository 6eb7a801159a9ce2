// RecentLatency: TTFT and ITL of the requests that ended lately, for people. Thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <mutex>
#include <vector>

namespace baton {

class RecentLatency {
 public:
  struct Figures {
    double p50 = 0, p99 = 0;  // 0: nothing yet
  };
  void add(double milliseconds) {
    std::lock_guard lock(mutex_);
    latest_[next_++ % latest_.size()] = milliseconds;
  }
  Figures figures() const {
    std::vector<double> values;
    {
      std::lock_guard lock(mutex_);
      values.assign(latest_.begin(),
                    latest_.begin() + static_cast<std::ptrdiff_t>(std::min(next_, latest_.size())));
    }
    if (values.empty()) return {};
    std::ranges::sort(values);
    const auto at = [&](double share) {
      return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
    };
    return {at(0.5), at(0.99)};
  }

 private:
  mutable std::mutex mutex_;
  std::array<double, 256> latest_{};
  std::size_t next_ = 0;
};

}  // namespace baton
