// How fast bytes come lately and how long the rest takes, as a progress bar says it. Pure: time is given.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "baton/base/clock.hpp"

namespace baton {

class TransferRate {
 public:
  void add(TimePoint now, std::uint64_t done);
  // Over the last ten seconds; 0 where nothing is known yet.
  double bytes_per_second() const;
  // "1.5 GiB of 14.9 GiB  85 MiB/s  2:41"; rate and rest only where they are known.
  std::string text(std::uint64_t total) const;

 private:
  struct Point {
    TimePoint when;
    std::uint64_t done = 0;
  };
  std::deque<Point> points_;
};

// "0:07", "12:30", "3:05:00".
std::string clock_text(Duration duration);

}  // namespace baton
