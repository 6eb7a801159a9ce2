// When requests are sent: open-loop arrival times of a wanted rate. Seeded: the same seed, the same times.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace baton::bench {

enum class ArrivalPattern : std::uint8_t { poisson, constant, gamma };

struct ArrivalOptions {
  ArrivalPattern pattern = ArrivalPattern::poisson;
  double rate = 1;        // requests/s
  double smoothness = 1;  // of gamma: 1 is Poisson, larger is more regular, smaller comes in bursts
  double ramp = 0;        // seconds in which the rate grows from 0 to `rate`
  std::uint64_t seed = 0;
};
// The first `count` times that are below `horizon`, seconds, ascending.
std::vector<double> arrival_times(const ArrivalOptions& options, std::size_t count, double horizon);

}  // namespace baton::bench
