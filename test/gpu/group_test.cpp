// An engine's model on several GPUs: the same ids, KV blocks that go to a lone device and back, and a step
// that fails. Skipped where there is one GPU only; whole models also where ../shared is absent.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "baton/engine/kv_memory.hpp"
#include "baton/model/model.hpp"
#include "baton/tensor/device_copier.hpp"
#include "support/catch.hpp"
#include "support/test_data.hpp"

namespace baton::test {
namespace {

using Tokens = std::vector<std::int32_t>;
constexpr std::int32_t kBlock = 16;
constexpr Device kFirst{DeviceKind::cuda, 0};

bool has_gpus(std::size_t count) {
  const auto gpus = list_gpus();
  if (gpus && gpus->size() >= count) return true;
  std::printf("BATON-SKIPPED[gpus] a group of %zu GPUs: this machine has fewer\n", count);
  return false;
}

std::unique_ptr<OpsGroup> group_of(std::int32_t width, std::optional<DType> activations = {}) {
  auto made = make_ops_group({.device = kFirst, .threads = 1, .activations = activations}, width);
  INFO((made ? std::string() : made.error().message));
  REQUIRE(made.has_value());
  return *std::move(made);
}

struct Golden {
  std::filesystem::path directory;
  Tokens prompt, ids;
};
std::optional<Golden> stories() {
  const auto directory = shared_data("models/stories260K");
  if (!directory) return std::nullopt;
  std::ifstream file(*directory / "golden.json");
  const auto golden = nlohmann::json::parse(file);
  return Golden{*directory, golden["prompt_ids"].get<Tokens>(), golden["greedy_ids"].get<Tokens>()};
}

// One sequence on a model, in blocks from `first_block` on.
struct Runner {
  Model& model;
  Ops& ops;
  KvView kv;
  std::int32_t position = 0;
  std::int32_t first_block = 3;

  std::int32_t feed(const Tokens& tokens) {
    Batch batch;
    batch.tokens = tokens;
    for (std::size_t i = 0; i < tokens.size(); ++i)
      batch.positions.push_back(position + static_cast<std::int32_t>(i));
    batch.sequences.push_back({0, static_cast<std::int32_t>(tokens.size()), position, 0});
    position += static_cast<std::int32_t>(tokens.size());
    for (std::int32_t b = 0; b * kBlock < position + 1; ++b) batch.block_table.push_back(first_block + b);
    batch.logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
    const auto values = ops.to_host(model.forward(batch, kv, ops));
    return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
  }
  Tokens generate(std::int32_t token, std::size_t count) {
    Tokens made;
    for (std::size_t i = 0; i < count; ++i) made.push_back(token = feed({token}));
    return made;
  }
};

constexpr std::int32_t kBlocks = 20;

KvMemory cache_for(const Model& model, Device device, std::int32_t width) {
  const KvSpec spec = model.kv_spec(kBlock);
  auto memory = KvMemory::allocate(spec, spec.layout.block_bytes() * kBlocks, kBlocks, device, width);
  INFO((memory ? std::string() : memory.error().message));
  REQUIRE(memory.has_value());
  return *std::move(memory);
}

}  // namespace

TEST_CASE("stories260K on a group of GPUs: the golden ids, in prefill and in recorded steps") {
  if (!has_gpus(2)) return;
  const auto golden = stories();
  if (!golden) return skipped("stories260K on a group of GPUs", "shared");
  for (const std::int32_t width : {2, 4}) {
    if (!has_gpus(static_cast<std::size_t>(width))) continue;
    const auto group = group_of(width);
    auto model = load_model(golden->directory, *group);
    REQUIRE(model.has_value());
    CHECK(group->rank(0).numerics_id().ends_with("/tp" + std::to_string(width)));
    const KvMemory memory = cache_for(**model, kFirst, width);
    Runner runner{**model, group->rank(0), memory.view()};
    Tokens made{runner.feed(golden->prompt)};
    const Tokens more = runner.generate(made.front(), 40);
    made.insert(made.end(), more.begin(), more.end());
    CHECK(std::equal(made.begin(), made.end(), golden->ids.begin()));
  }
}

TEST_CASE("a group's KV blocks go to a lone device and back") {
  if (!has_gpus(2)) return;
  const auto golden = stories();
  if (!golden) return skipped("a group's KV blocks", "shared");
  const std::int32_t width = 2;
  const auto group = group_of(width);
  auto lone_ops = make_ops({.threads = 1});
  REQUIRE(lone_ops.has_value());
  auto wide = load_model(golden->directory, *group), lone = load_model(golden->directory, **lone_ops);
  REQUIRE(wide.has_value());
  REQUIRE(lone.has_value());
  CHECK((*wide)->fingerprint() == (*lone)->fingerprint());
  const KvMemory on_gpus = cache_for(**wide, kFirst, width), on_host = cache_for(**lone, {}, 1);
  CHECK(on_gpus.bytes().empty());
  const KvView gpu_kv = on_gpus.view(), host_kv = on_host.view();
  CHECK(gpu_kv.layout == host_kv.layout);
  auto copier = make_group_copier(gpu_kv, kFirst, width);
  REQUIRE(copier.has_value());
  const std::size_t bytes = gpu_kv.layout.block_bytes();
  const std::size_t head = gpu_kv.layout.head_bytes();
  Runner prefill{**wide, group->rank(0), gpu_kv}, decode{**lone, **lone_ops, host_kv};
  Tokens prompt = golden->prompt;
  prompt.insert(prompt.end(), golden->ids.begin(), golden->ids.begin() + 60);
  const std::int32_t next = prefill.feed(prompt);
  CHECK(next == golden->ids[60]);
  for (std::int32_t block = 3; block < 8; ++block) {
    const std::span<std::byte> target(host_kv.block(block), bytes), named(gpu_kv.block(block), bytes);
    REQUIRE((*copier)->to_host(named, target).has_value());
    const auto hashes = (*copier)->hash_pieces(named, head);
    REQUIRE(hashes.has_value());
    for (std::size_t i = 0; i < hashes->size(); ++i)
      CHECK((*hashes)[i] == hash_bytes(target.subspan(i * head, head)));
  }
  decode.position = prefill.position;
  const Tokens there = decode.generate(next, 20);
  CHECK(std::equal(there.begin(), there.end(), golden->ids.begin() + 61));
  for (std::int32_t block = 3; block < 10; ++block)  // back, with what was added
    REQUIRE(
        (*copier)->from_host({host_kv.block(block), bytes}, {gpu_kv.block(block + 8), bytes}).has_value());
  Runner back{**wide, group->rank(0), gpu_kv, decode.position, 11};
  const Tokens here = back.generate(there.back(), 10);
  CHECK(std::equal(here.begin(), here.end(), golden->ids.begin() + 81));
}

TEST_CASE("the group's copier takes whole blocks, and heads to hash") {
  if (!has_gpus(2)) return;
  const KvSpec spec{{DType::bf16, 3, 6, 8, 4}, {0, 1, 2}};
  auto memory = KvMemory::allocate(spec, spec.layout.block_bytes() * 5, 5, kFirst, 2);
  REQUIRE(memory.has_value());
  const KvMemory moved = *std::move(memory);  // its addresses stay
  const KvView kv = moved.view();
  auto copier = make_group_copier(kv, kFirst, 2);
  REQUIRE(copier.has_value());
  const std::size_t bytes = spec.layout.block_bytes();
  std::vector<std::byte> sent(3 * bytes), back(3 * bytes);
  std::mt19937_64 random(3);
  for (std::byte& byte : sent) byte = static_cast<std::byte>(random());
  REQUIRE((*copier)->from_host(sent, {kv.block(1), sent.size()}).has_value());
  REQUIRE((*copier)->to_host({kv.block(1), back.size()}, back).has_value());
  CHECK(sent == back);
  const std::span<std::byte> pool(kv.base, 5 * bytes), host(back);
  CHECK(!(*copier)->to_host(pool.subspan(1, bytes), host.first(bytes)));
  CHECK(!(*copier)->to_host(pool.subspan(bytes, bytes - 1), host.first(bytes - 1)));
  CHECK(!(*copier)->to_host({kv.block(4), 2 * bytes}, host.first(2 * bytes)));
  CHECK(!(*copier)->to_host(pool.first(bytes), host.first(2 * bytes)));
  CHECK(!(*copier)->hash_pieces(pool.first(bytes), bytes));
  CHECK((*copier)->hash_pieces(pool.first(bytes), spec.layout.head_bytes()).has_value());
}

TEST_CASE("a group of GPUs that is interrupted fails the step, and goes on after it has settled") {
  if (!has_gpus(2)) return;
  const auto golden = stories();
  if (!golden) return skipped("a group that is interrupted", "shared");
  const auto group = group_of(2);
  auto model = load_model(golden->directory, *group);
  REQUIRE(model.has_value());
  const KvMemory memory = cache_for(**model, kFirst, 2);
  for (int round = 0; round < 2; ++round) {
    Runner broken{**model, group->rank(0), memory.view()};
    group->interrupt();
    bool failed = false;
    try {
      (void)broken.feed(golden->prompt);
    } catch (const DeviceFailure&) {
      failed = true;
    }
    CHECK(failed);
    CHECK((*model)->settle(group->rank(0)));
    Runner again{**model, group->rank(0), memory.view()};
    const std::int32_t first = again.feed(golden->prompt);
    CHECK(first == golden->ids[0]);
    const Tokens more = again.generate(first, 5);  // recorded, too
    CHECK(std::equal(more.begin(), more.end(), golden->ids.begin() + 1));
  }
}

TEST_CASE("a group's rank that waits for another ends when it is interrupted, and they meet again later") {
  if (!has_gpus(2)) return;
  const auto group = group_of(2, DType::f32);
  std::vector<Buffer> buffers;
  std::vector<Tensor> tensors;
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    auto buffer = Buffer::allocate({DeviceKind::cuda, rank}, 64 * sizeof(float));
    REQUIRE(buffer.has_value());
    tensors.push_back({buffer->data(), DType::f32, 1, 64, 64});
    buffers.push_back(*std::move(buffer));
  }
  Batch batch;
  batch.tokens = batch.positions = batch.logit_rows = batch.block_table = {0};
  batch.sequences.push_back({0, 1, 0, 0});
  const auto sum = [&](std::int32_t rank) -> std::optional<std::vector<float>> {
    const std::vector<float> ones(64, 1.0F);
    const Tensor& x = tensors[static_cast<std::size_t>(rank)];
    if (!copy_from_host(std::as_bytes(std::span(ones)), {DeviceKind::cuda, rank},
                        static_cast<std::byte*>(x.data)))
      return std::nullopt;
    Ops& ops = group->rank(rank);
    try {
      ops.begin_step(batch, {});
      const auto values = ops.to_host(ops.all_reduce(x));
      return std::vector<float>(values.begin(), values.end());
    } catch (const DeviceFailure&) {
      return std::nullopt;
    }
  };
  for (int round = 0; round < 3; ++round) {
    const std::int32_t early = round % 2;
    std::optional<std::vector<float>> got;
    std::thread waits([&] { got = sum(early); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(!group->gave_up());
    group->interrupt();
    waits.join();
    CHECK(!got.has_value());
    CHECK(group->gave_up());
    CHECK(!sum(1 - early).has_value());  // who comes late is told at once
    for (std::int32_t rank = 0; rank < 2; ++rank) CHECK(group->rank(rank).settle());
    group->rejoin();
    CHECK(!group->gave_up());
    std::optional<std::vector<float>> sums[2];
    std::thread other([&] { sums[1] = sum(1); });
    sums[0] = sum(0);
    other.join();
    for (const auto& made : sums) {
      REQUIRE(made.has_value());
      CHECK(*made == std::vector<float>(64, 2.0F));
    }
  }
}

TEST_CASE("a group wants as many GPUs as it has ranks") {
  const auto gpus = list_gpus();
  REQUIRE(gpus.has_value());
  if (gpus->size() >= 8) return;
  const auto made = make_ops_group({.device = kFirst}, 8);
  REQUIRE(!made.has_value());
  CHECK(made.error().field == "--tensor-parallel");
}

}  // namespace baton::test
