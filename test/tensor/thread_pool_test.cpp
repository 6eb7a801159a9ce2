// The kernel threads: every task once, whether workers are awake, asleep, or more than there are cores.
#include "tensor/thread_pool.hpp"

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace baton::test {

TEST_CASE("every task runs exactly once, on a thread of the pool") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const int tasks : {0, 1, 2, 7, 100, 1000}) {
      std::vector<int> runs(static_cast<std::size_t>(tasks), 0);  // plain: each is one task's alone
      std::atomic<bool> known{true};
      pool.run(tasks, [&](std::int64_t task, int thread) {
        ++runs[static_cast<std::size_t>(task)];
        if (thread < 0 || thread >= threads) known = false;
      });
      CHECK(std::all_of(runs.begin(), runs.end(), [](int n) { return n == 1; }));
      CHECK(known);
    }
  }
}

TEST_CASE("what a run wrote is visible to the next, thousands of times") {
  ThreadPool pool(4);
  std::vector<std::int64_t> values(64, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.run(64, [&](std::int64_t task, int) { values[static_cast<std::size_t>(task)] += task; });
    pool.run(32, [&](std::int64_t task, int) {  // reads what another thread may have written
      const auto at = static_cast<std::size_t>(task);
      std::swap(values[at], values[63 - at]);
      std::swap(values[at], values[63 - at]);
    });
  }
  for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == static_cast<std::int64_t>(i) * 5000);
}

TEST_CASE("workers that fell asleep wake up, and an idle pool ends") {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<std::int64_t> sum{0};
    pool.run(100, [&](std::int64_t task, int) { sum += task; });
    CHECK(sum == 4950);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
}

// A worker that is late for the last job meets the end of the pool while it tries to join. One pool in a
// thousand did so; it must not sleep then, for the pool waits for it.
TEST_CASE("a pool ends, though its workers are late for its last job") {
  for (int round = 0; round < 5000; ++round) {
    ThreadPool pool(2);
    std::atomic<int> runs{0};
    for (int job = 0; job < 3; ++job) pool.run(2, [&](std::int64_t, int) { ++runs; });
    REQUIRE(runs == 6);
  }
}

}  // namespace baton::test
