// A cache that several GPUs share, and what of it goes through host memory: blocks as a lone GPU has them.
#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <utility>

#include "baton/engine/kv_memory.hpp"
#include "baton/tensor/buffer.hpp"
#include "baton/tensor/device_copier.hpp"
#include "baton/tensor/ops.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"

namespace baton::test {
namespace {

constexpr Device kFirst{DeviceKind::cuda, 0};

bool has_gpus(std::int32_t width) {
  const auto gpus = list_gpus();
  return gpus && gpus->size() >= static_cast<std::size_t>(width);
}

KvSpec spec_of(DType dtype) {
  return {.layout = {.dtype = dtype, .layers = 3, .kv_heads = 8, .head_dim = 16, .block_size = 4},
          .places = {0, 1, 2}};
}

std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  std::vector<std::byte> bytes(count);
  std::mt19937_64 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace

TEST_CASE("several GPUs share a cache: each has its heads of every block, and blocks have addresses") {
  for (const std::int32_t width : {2, 4, 8}) {
    if (!has_gpus(width)) return skipped("a cache of " + std::to_string(width) + " GPUs", "gpus");
    const KvSpec spec = spec_of(DType::bf16);
    auto made = KvMemory::allocate(spec, 10 * spec.layout.block_bytes() + 1, 10, kFirst, width);
    REQUIRE(made.has_value());
    const KvMemory memory = *std::move(made);  // what the view points at has not moved
    const KvView kv = memory.view();
    CHECK(memory.bytes().empty());
    CHECK(kv.blocks == 10);
    CHECK(kv.layout == spec.layout);
    CHECK(kv.block(1) - kv.block(0) == static_cast<std::ptrdiff_t>(spec.layout.block_bytes()));
    for (std::int32_t rank = 0; rank < width; ++rank) {
      const KvView part = kv.of({rank, width});
      CHECK(part.base == kv.ranks[rank]);
      CHECK(part.blocks == 10);
      CHECK(part.heads() == 8 / width);
      CHECK(part.layout.block_bytes() * static_cast<std::size_t>(width) == spec.layout.block_bytes());
      // Its last byte is there.
      std::byte last{1};
      CHECK(
          copy_to_host({DeviceKind::cuda, rank}, part.base + 10 * part.layout.block_bytes() - 1, {&last, 1}));
      CHECK(last == std::byte{0});
    }
    CHECK(!KvMemory::allocate(spec, 10 * spec.layout.block_bytes(), 11, kFirst, width));
  }
  const KvSpec spec = spec_of(DType::bf16);
  auto alone = KvMemory::allocate(spec, 10 * spec.layout.block_bytes(), 10, kFirst, 1);
  REQUIRE(alone.has_value());
  CHECK(alone->view().ranks == nullptr);
  CHECK(alone->bytes().data() == alone->view().base);
  CHECK(alone->bytes().size() == 10 * spec.layout.block_bytes());
}

TEST_CASE("the group copier brings blocks of several GPUs into one order, and back") {
  for (const std::int32_t width : {2, 4, 8}) {
    if (!has_gpus(width)) return skipped("copies of " + std::to_string(width) + " GPUs", "gpus");
    for (const DType dtype : {DType::bf16, DType::e4m3, DType::f32}) {
      const KvSpec spec = spec_of(dtype);
      const std::size_t block_bytes = spec.layout.block_bytes(), head_bytes = spec.layout.head_bytes();
      auto memory = KvMemory::allocate(spec, 9 * block_bytes, 9, kFirst, width);
      REQUIRE(memory.has_value());
      const KvView kv = memory->view();
      auto copier = make_group_copier(kv, kFirst, width);
      REQUIRE(copier.has_value());

      const std::vector<std::byte> sent = random_bytes(3 * block_bytes, 7);
      REQUIRE((*copier)->from_host(std::span(sent).first(block_bytes), {kv.block(8), block_bytes}));
      REQUIRE((*copier)->from_host(std::span(sent).subspan(block_bytes), {kv.block(2), 2 * block_bytes}));
      std::vector<std::byte> back(3 * block_bytes);
      REQUIRE((*copier)->to_host({kv.block(8), block_bytes}, std::span(back).first(block_bytes)));
      REQUIRE((*copier)->to_host({kv.block(2), 2 * block_bytes}, std::span(back).subspan(block_bytes)));
      CHECK(back == sent);

      // Every piece lies where the rank that has the head looks for it.
      KvView lone = kv;
      lone.base = const_cast<std::byte*>(sent.data());  // block 8 is its block 0
      std::size_t wrong = 0;
      for (std::int32_t layer = 0; layer < 3; ++layer) {
        for (int k_or_v = 0; k_or_v < 2; ++k_or_v) {
          for (std::int32_t head = 0; head < 8; ++head) {
            const std::int32_t rank = head / (8 / width);
            const KvView part = kv.of({rank, width});
            std::vector<std::byte> piece(head_bytes);
            REQUIRE(copy_to_host({DeviceKind::cuda, rank}, part.piece(8, layer, k_or_v, head % (8 / width)),
                                 piece));
            wrong += std::memcmp(piece.data(), lone.piece(0, layer, k_or_v, head), head_bytes) != 0;
          }
        }
      }
      CHECK(wrong == 0);

      // Nothing beside the blocks was written.
      std::vector<std::byte> beside(block_bytes);
      for (const std::int32_t id : {0, 1, 4, 5, 6, 7}) {
        REQUIRE((*copier)->to_host({kv.block(id), block_bytes}, beside));
        wrong +=
            std::any_of(beside.begin(), beside.end(), [](std::byte byte) { return byte != std::byte{0}; });
      }
      CHECK(wrong == 0);

      const auto hashes = (*copier)->hash_pieces({kv.block(2), 2 * block_bytes}, head_bytes);
      REQUIRE(hashes.has_value());
      REQUIRE(hashes->size() == 2 * block_bytes / head_bytes);
      for (std::size_t i = 0; i < hashes->size(); ++i)
        wrong +=
            (*hashes)[i] != hash_bytes(std::span(sent).subspan(block_bytes + i * head_bytes, head_bytes));
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("the group copier refuses what is no block, and takes turns between threads") {
  if (!has_gpus(2)) return skipped("copies of two GPUs", "gpus");
  const KvSpec spec = spec_of(DType::f16);
  const std::size_t bytes = spec.layout.block_bytes(), piece = spec.layout.head_bytes();
  auto memory = KvMemory::allocate(spec, 4 * bytes, 4, kFirst, 2);
  REQUIRE(memory.has_value());
  const KvView kv = memory->view();
  auto copier = make_group_copier(kv, kFirst, 2);
  REQUIRE(copier.has_value());
  std::vector<std::byte> host(5 * bytes);
  const auto refused = [](const auto& result) {
    return !result && result.error().code == ErrorCode::invalid_argument;
  };
  const std::span room(host);
  CHECK(refused((*copier)->to_host({kv.block(0), bytes / 2}, room.first(bytes / 2))));
  CHECK(refused((*copier)->to_host({kv.block(0) + piece, bytes}, room.first(bytes))));
  CHECK(refused((*copier)->to_host({kv.block(0), 5 * bytes}, room)));
  CHECK(refused((*copier)->to_host({kv.block(4), bytes}, room.first(bytes))));
  CHECK(refused((*copier)->to_host({kv.block(0) - bytes, bytes}, room.first(bytes))));
  CHECK(refused((*copier)->to_host({kv.block(0), bytes}, room.first(bytes - 1))));
  CHECK(refused((*copier)->from_host(room.first(bytes / 2), {kv.block(0), bytes / 2})));
  CHECK(refused((*copier)->hash_pieces({kv.block(0), bytes}, bytes)));
  CHECK(refused((*copier)->hash_pieces({kv.block(0), bytes}, 0)));
  auto lone = KvMemory::allocate(spec, bytes, 1, kFirst, 1);
  REQUIRE(lone.has_value());
  CHECK(refused(make_group_copier(lone->view(), kFirst, 2)));

  int differences[2] = {};
  const auto round_trips = [&](int who) {
    for (int turn = 0; turn < 20; ++turn) {
      const std::vector<std::byte> sent = random_bytes(bytes, static_cast<std::uint64_t>(2 * turn + who));
      std::vector<std::byte> back(bytes);
      const bool moved = (*copier)->from_host(sent, {kv.block(who), bytes}) &&
                         (*copier)->to_host({kv.block(who), bytes}, back);
      differences[who] += !moved || back != sent;
    }
  };
  std::thread other(round_trips, 1);
  round_trips(0);
  other.join();
  CHECK(differences[0] == 0);
  CHECK(differences[1] == 0);
}

}  // namespace baton::test
