#include "app/transfer_rate.hpp"

#include "support/catch.hpp"

namespace baton::test {

TEST_CASE("a transfer's rate is that of the last ten seconds, and so is the rest") {
  using namespace std::chrono_literals;
  constexpr std::uint64_t kMiB = 1 << 20;
  TransferRate rate;
  CHECK(rate.text(100 * kMiB) == "0 B of 100 MiB");
  const TimePoint start{};
  rate.add(start, 0);
  rate.add(start + 2s, 20 * kMiB);
  CHECK(rate.text(100 * kMiB) == "20 MiB of 100 MiB  10 MiB/s  0:08");
  for (int second = 3; second <= 30; ++second) rate.add(start + second * 1s, (20 + second) * kMiB);
  CHECK(rate.bytes_per_second() == Approx(1.0 * kMiB));
  rate.add(start + 31s, 10 * kMiB);  // a file started over
  CHECK(rate.bytes_per_second() == 0);
  CHECK(rate.text(100 * kMiB) == "10 MiB of 100 MiB");
  CHECK(clock_text(7s) == "0:07");
  CHECK(clock_text(750s) == "12:30");
  CHECK(clock_text(11100s) == "3:05:00");
}

}  // namespace baton::test
