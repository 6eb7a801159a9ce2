// Time as a dependency: code that waits or measures takes a Clock, so that the simulator and tests can own
// time.
//
// TimePoint is a steady-clock instant; wall-clock time appears only where a person or a protocol needs it
// (logs, `created`).
#pragma once

#include <chrono>

namespace baton {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

struct Clock {
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
};

struct SteadyClock final : Clock {
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

inline double to_milliseconds(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
inline double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace baton
