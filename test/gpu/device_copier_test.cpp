// What goes to the GPU comes back, whatever its size, from two threads at once.
#include "baton/tensor/device_copier.hpp"

#include <algorithm>
#include <random>
#include <thread>

#include "baton/tensor/buffer.hpp"
#include "support/catch.hpp"

namespace baton::test {

TEST_CASE("the device copier brings back what it took, in pieces and from two threads") {
  const Device gpu{DeviceKind::cuda, 0};
  auto copier = make_device_copier(gpu);
  REQUIRE(copier.has_value());
  constexpr std::size_t kSizes[] = {1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 7, (5 << 20) + 12345};
  std::size_t differences[2] = {};
  const auto round_trips = [&](std::size_t who) {
    std::mt19937_64 random(who);
    for (const std::size_t size : kSizes) {
      auto memory = Buffer::allocate(gpu, size);
      std::vector<std::byte> sent(size), back(size);
      for (std::byte& byte : sent) byte = static_cast<std::byte>(random());
      const bool copied = memory && (*copier)->from_host(sent, {memory->data(), size}) &&
                          (*copier)->to_host({memory->data(), size}, back);
      if (!copied || sent != back) ++differences[who];
    }
  };
  std::thread other(round_trips, 1);
  round_trips(0);
  other.join();
  CHECK(differences[0] == 0);
  CHECK(differences[1] == 0);
}

TEST_CASE("the device copier hashes where the bytes lie, in any number of pieces") {
  const Device gpu{DeviceKind::cuda, 0};
  auto copier = make_device_copier(gpu);
  REQUIRE(copier.has_value());
  std::vector<std::byte> bytes(200'003);
  std::mt19937_64 random(5);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  auto memory = Buffer::allocate(gpu, bytes.size());
  REQUIRE(memory.has_value());
  REQUIRE((*copier)->from_host(bytes, {memory->data(), bytes.size()}));
  for (const std::size_t piece : {std::size_t{7}, std::size_t{2048}, bytes.size()}) {
    const auto hashes = (*copier)->hash_pieces({memory->data(), bytes.size()}, piece);
    REQUIRE(hashes.has_value());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < hashes->size(); ++i)
      wrong += (*hashes)[i] !=
               hash_bytes(std::span(bytes).subspan(i * piece, std::min(piece, bytes.size() - i * piece)));
    CHECK(hashes->size() == (bytes.size() + piece - 1) / piece);
    CHECK(wrong == 0);
  }
  CHECK(!(*copier)->hash_pieces({memory->data(), 1}, 0));
}

}  // namespace baton::test
