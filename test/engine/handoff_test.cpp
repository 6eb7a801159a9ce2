// Two engines that hand the KV cache of the real demo model to each other, over loopback: what moves, and
// that damage shows.
//
// With digests off, one damaged block, layer or head must change the answers (else the tests elsewhere could
// not notice a wrong transfer); with digests on, none.
#include <atomic>
#include <cstring>

#include "engine/demo_engines.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

using Damage = std::function<void(const OutgoingBlock&, std::span<std::byte>)>;

std::size_t changed_answers(const std::vector<DemoCase>& cases, const Damage& damage, bool digests,
                            EngineStats* sender = nullptr) {
  TransportOptions options;
  options.digests = digests;
  options.corrupt_for_test = damage;
  Pair pair(options);
  std::size_t changed = 0;
  for (const DemoCase& demo : cases)
    if (pair.answer(demo, false) != demo.answer) ++changed;
  const EngineStats decode = pair.decode_stats();
  if (sender != nullptr) *sender = pair.prefill_stats();
  CHECK(decode.blocks_in_use == 0);
  return changed;
}

void zero(std::span<std::byte> bytes) { std::memset(bytes.data(), 0, bytes.size()); }

}  // namespace

TEST_CASE("the demo model answers word for word over a handoff, and the decode engine computes no prompt") {
  const auto cases = demo_cases();
  Pair pair;
  for (const DemoCase& demo : cases) CHECK(pair.answer(demo) == demo.answer);
  const EngineStats decode = pair.decode_stats();
  CHECK(decode.prefill_tokens == 0);
  CHECK(decode.recomputed_tokens == 0);
  CHECK(decode.blocks_received > cases.size());
  CHECK(decode.blocks_in_use == 0);
  CHECK(pair.prefill_stats().blocks_in_use == 0);
  CHECK(pair.prefill_stats().transfers_failed == 0);
}

TEST_CASE("a request that moves in mid-stream goes on word for word, and nothing is computed again") {
  const auto cases = demo_cases();
  Pair pair;
  std::size_t after = 0;
  for (const DemoCase& demo : cases) CHECK(pair.moved_answer(demo, 1 + after++ % 20) == demo.answer);
  CHECK(pair.moved > static_cast<int>(cases.size() / 2));
  const EngineStats decode = pair.decode_stats();
  CHECK(decode.prefill_tokens == 0);
  CHECK(decode.blocks_received > 0);
  CHECK(decode.blocks_in_use == 0);
  CHECK(pair.prefill_stats().blocks_in_use == 0);
  CHECK(pair.prefill_stats().transfers_failed == 0);
}

TEST_CASE("damage in transfer changes the answers where digests are off, and never where they are on") {
  const auto cases = demo_cases();
  REQUIRE(cases.size() >= 60);
  const std::size_t layers = 4, heads = 4;
  const std::size_t least = cases.size() * 50 / 60;
  // A block holds [layer][K,V][head][token][head_dim]. Every request has a cache of its own here
  // (changed_answers): all its blocks travel, and damage done to one request cannot reach another through the
  // prefix cache.
  // Two whole blocks swapped would change nothing, whatever the model: docs/demo-model.md.
  const auto swap_heads = [&](std::span<std::byte> bytes) {
    const std::size_t piece = bytes.size() / layers / 2 / heads;
    for (std::size_t i = 0; i < layers * 2; ++i)
      std::ranges::swap_ranges(bytes.subspan(i * heads * piece, piece),
                               bytes.subspan((i * heads + 1) * piece, piece));
  };
  const std::vector<std::pair<std::string, Damage>> damages = {
      {"one block zeroed",
       [&](const OutgoingBlock& b, std::span<std::byte> bytes) {
         if (b.index == 1) zero(bytes);
       }},
      {"one layer of all blocks zeroed",
       [&](const OutgoingBlock&, std::span<std::byte> bytes) {
         zero(bytes.subspan(bytes.size() / layers, bytes.size() / layers));
       }},
      {"two layers swapped",
       [&](const OutgoingBlock&, std::span<std::byte> bytes) {
         const std::size_t layer = bytes.size() / layers;
         std::swap_ranges(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(layer),
                          bytes.begin() + static_cast<std::ptrdiff_t>(layer));
       }},
      {"one head of all layers zeroed",
       [&](const OutgoingBlock&, std::span<std::byte> bytes) {
         const std::size_t piece = bytes.size() / layers / 2 / heads;
         for (std::size_t i = 0; i < layers * 2; ++i) zero(bytes.subspan((i * heads + 1) * piece, piece));
       }},
      {"two heads of all layers swapped",
       [&](const OutgoingBlock&, std::span<std::byte> bytes) { swap_heads(bytes); }},
      {"two heads of one block swapped",
       [&](const OutgoingBlock& b, std::span<std::byte> bytes) {
         if (b.index == 1) swap_heads(bytes);
       }},
  };
  for (const auto& [name, damage] : damages) {
    INFO(name);
    CHECK(changed_answers(cases, damage, false) >= least);
  }
  // Every other block arrives damaged the first time: it is sent again.
  std::atomic<int> sends{0};
  EngineStats sender;
  const Damage often = [&](const OutgoingBlock&, std::span<std::byte> bytes) {
    if (sends++ % 2 == 0) zero(bytes.first(64));
  };
  CHECK(changed_answers(cases, often, true, &sender) == 0);
  CHECK(sender.blocks_resent > 0);
}
