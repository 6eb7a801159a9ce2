#include "contract.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

namespace baton::test {

Blocks::Blocks(std::size_t count, std::size_t bytes, std::uint64_t seed)
    : block_bytes_(bytes), pool_(2 * count * bytes) {
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at < pool_.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(&pool_[at], &word, std::min(sizeof word, pool_.size() - at));
  }
  for (std::size_t i = 0; i < count; ++i) hashes_.push_back({random(), random()});
}

std::vector<ExpectedBlock> Blocks::expected(Blocks& hashes_of) {
  std::vector<ExpectedBlock> blocks;
  for (std::size_t i = 0; i < size(); ++i)
    blocks.push_back({static_cast<std::uint32_t>(i), hashes_of.hash(i), bytes(i)});
  return blocks;
}

bool Blocks::equals(Blocks& other) {
  for (std::size_t i = 0; i < size(); ++i)
    if (!std::ranges::equal(bytes(i), other.bytes(i))) return false;
  return true;
}

bool Blocks::all(std::byte value) const {
  return std::ranges::all_of(pool_, [&](std::byte byte) { return byte == value; });
}

TransferId new_transfer() {
  static std::atomic<std::uint64_t> last{0};
  const std::uint64_t n = ++last;
  return hash_bytes(std::as_bytes(std::span(&n, 1)));
}

void await_closed_sockets() {
  const auto open = [] {
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return std::distance(begin(descriptors), end(descriptors));
  };
  constexpr int kLooks = 4;  // that show the same
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  auto last = open();
  for (int same = 0; same < kLooks && std::chrono::steady_clock::now() < deadline;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto now = open();
    same = now == last ? same + 1 : 0;
    last = now;
  }
}

}  // namespace baton::test
