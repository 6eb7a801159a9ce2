// The header in front of every part, and the digest: pure functions over bytes.
#include "transfer/part_header.hpp"

#include <array>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "transfer/digest.hpp"

using namespace baton;
using namespace baton::transfer;

namespace {

PartHeader example() {
  PartHeader header;
  header.transfer = {1, 2};
  header.hash = {3, 4};
  header.digest = {5, 6};
  header.sender = {7, 8};
  header.attempt = 9;
  header.total_bytes = 1000;
  header.part_bytes = 300;
  header.index = 10;
  header.part = 3;
  header.has_digest = true;
  return header;
}

}  // namespace

TEST_CASE("a part header survives its encoding") {
  const PartHeader header = example();
  const auto parsed = parse_part_header(encode_part_header(header));
  REQUIRE(parsed);
  CHECK(parsed->transfer == header.transfer);
  CHECK(parsed->hash == header.hash);
  CHECK(parsed->digest == header.digest);
  CHECK(parsed->sender == header.sender);
  CHECK(parsed->attempt == 9);
  CHECK(parsed->index == 10);
  CHECK(parsed->has_digest);
  CHECK(parsed->parts() == 4);
  CHECK(parsed->offset() == 900);
  CHECK(parsed->length() == 100);
}

TEST_CASE("contradicting headers do not parse") {
  const auto refuses = [](auto change) {
    PartHeader header = example();
    change(header);
    return !parse_part_header(encode_part_header(header));
  };
  CHECK(refuses([](PartHeader& h) { h.part = 4; }));
  CHECK(refuses([](PartHeader& h) { h.total_bytes = 0; }));
  CHECK(refuses([](PartHeader& h) { h.part_bytes = 0; }));
  CHECK(refuses([](PartHeader& h) { h.total_bytes = ~std::uint64_t{0}; }));
  CHECK(refuses([](PartHeader& h) { h.part_bytes = ~std::uint64_t{0}; }));
  CHECK(refuses([](PartHeader& h) { h.total_bytes = 1 << 20, h.part_bytes = 1, h.part = 0; }));
  auto bytes = encode_part_header(example());
  CHECK_FALSE(parse_part_header(std::span(bytes).first(bytes.size() - 1)));
  bytes[0] ^= std::byte{1};
  CHECK_FALSE(parse_part_header(bytes));
}

TEST_CASE("whatever parses describes a range inside its block") {
  std::mt19937_64 random(5);
  int parsed_count = 0;
  for (int i = 0; i < 20000; ++i) {
    auto bytes = encode_part_header(example());
    const std::size_t flips = 1 + random() % 3;
    for (std::size_t f = 0; f < flips; ++f)
      bytes[8 + random() % (bytes.size() - 8)] = static_cast<std::byte>(random());
    const auto header = parse_part_header(bytes);
    if (!header) continue;
    ++parsed_count;
    CHECK(header->offset() < header->total_bytes);
    CHECK(header->length() > 0);
    CHECK(header->length() <= header->total_bytes - header->offset());
  }
  CHECK(parsed_count > 1000);
}

TEST_CASE("a digest sees every byte, the order of pieces and the identity") {
  std::vector<std::byte> bytes(10000);
  std::mt19937_64 random(6);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const BlockIdentity identity{{1, 2}, 3, {4, 5}};
  const Hash128 digest = block_digest(identity, content_digest(bytes, 1000));
  CHECK(block_digest(identity, content_digest(bytes, 1000)) == digest);
  for (const std::size_t at : {0u, 999u, 1000u, 5555u, 9999u}) {
    bytes[at] ^= std::byte{1};
    CHECK(block_digest(identity, content_digest(bytes, 1000)) != digest);
    bytes[at] ^= std::byte{1};
  }
  std::swap_ranges(bytes.begin(), bytes.begin() + 1000, bytes.begin() + 1000);
  CHECK(block_digest(identity, content_digest(bytes, 1000)) != digest);
  std::swap_ranges(bytes.begin(), bytes.begin() + 1000, bytes.begin() + 1000);
  CHECK(block_digest({{1, 9}, 3, {4, 5}}, content_digest(bytes, 1000)) != digest);
  CHECK(block_digest({{1, 2}, 9, {4, 5}}, content_digest(bytes, 1000)) != digest);
  CHECK(block_digest({{1, 2}, 3, {4, 9}}, content_digest(bytes, 1000)) != digest);
}

TEST_CASE("the wide XXH3 agrees with the portable one, so that unlike CPUs verify each other") {
  std::vector<std::byte> bytes(3000);
  std::mt19937_64 random(7);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (const std::size_t size : {1u, 16u, 100u, 240u, 241u, 1024u, 2999u}) {
    const auto block = std::span<const std::byte>(bytes).first(size);
    const Hash128 piece = hash_bytes(block);
    const std::vector<std::uint64_t> words{size, piece.high, piece.low};
    CHECK(content_digest(block, 0) == hash_bytes(std::as_bytes(std::span(words))));
  }
}
