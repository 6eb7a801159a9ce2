// Where the ranks of a group on the CPU meet: whoever interrupts them, whenever, is heard by all.
#include "tensor/cpu_exchange.hpp"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace baton {

TEST_CASE("ranks that meet see each other's tensors, in order of rank") {
  constexpr std::int32_t kWidth = 3;
  CpuExchange exchange(kWidth);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (std::int32_t rank = 0; rank < kWidth; ++rank)
    threads.emplace_back([&, rank] {
      for (std::int64_t round = 0; round < 2000; ++round) {
        Tensor own;
        own.rows = rank;
        own.cols = round;
        const auto all = exchange.meet(rank, own);
        for (std::int32_t other = 0; other < kWidth; ++other) {
          const Tensor& theirs = all[static_cast<std::size_t>(other)];
          wrong += theirs.rows != other || theirs.cols != round;
        }
        exchange.part();
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("an interrupt at any moment reaches every rank, until they rejoin") {
  constexpr std::int32_t kWidth = 2;
  constexpr int kMostRounds = 10'000'000;  // far beyond any interrupt
  CpuExchange exchange(kWidth);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::array<std::atomic<bool>, kWidth> threw{};
    std::atomic<int> rounds = 0;
    std::vector<std::thread> threads;
    for (std::int32_t rank = 0; rank < kWidth; ++rank)
      threads.emplace_back([&, rank] {
        try {
          for (int i = 0; i < kMostRounds; ++i) {
            exchange.meet(rank, {});
            exchange.part();
            if (rank == 0) rounds = i + 1;
          }
        } catch (const DeviceFailure&) {
          threw[static_cast<std::size_t>(rank)] = true;
        }
      });
    while (rounds < attempt % 7) std::this_thread::yield();
    exchange.interrupt();
    for (std::thread& thread : threads) thread.join();
    REQUIRE((threw[0] && threw[1]));
    CHECK_THROWS_AS(exchange.part(), DeviceFailure);  // still
    exchange.rejoin();
  }
}

TEST_CASE("who waits for a rank that never comes is not told that it came") {
  CpuExchange exchange(2);
  std::atomic<bool> threw = false;
  std::thread waiting([&] {
    try {
      exchange.meet(0, {});
    } catch (const DeviceFailure&) {
      threw = true;
    }
  });
  exchange.interrupt();
  waiting.join();
  CHECK(threw);
}

}  // namespace baton
