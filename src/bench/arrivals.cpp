#include "baton/bench/arrivals.hpp"

#include <cmath>
#include <random>

namespace baton::bench {
namespace {

// When a load that grows over `ramp` seconds has sent `expected` requests.
double time_of(double expected, double rate, double ramp) {
  const double while_growing = rate * ramp / 2;
  return expected < while_growing ? std::sqrt(2 * expected * ramp / rate) : ramp / 2 + expected / rate;
}

}  // namespace

std::vector<double> arrival_times(const ArrivalOptions& options, std::size_t count, double horizon) {
  std::mt19937_64 random(options.seed);
  std::gamma_distribution<double> gamma(options.smoothness, 1 / options.smoothness);
  std::exponential_distribution<double> exponential(1);
  std::vector<double> times;
  double expected = 0;
  while (times.size() < count) {
    const double at = time_of(expected, options.rate, options.ramp);
    if (at >= horizon) break;
    times.push_back(at);
    expected += options.pattern == ArrivalPattern::constant  ? 1
                : options.pattern == ArrivalPattern::poisson ? exponential(random)
                                                             : gamma(random);
  }
  return times;
}

}  // namespace baton::bench
