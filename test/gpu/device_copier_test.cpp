// What goes to the GPU comes back, whatever its size, from two threads at once.
#include "baton/tensor/device_copier.hpp"

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

}  // namespace baton::test
