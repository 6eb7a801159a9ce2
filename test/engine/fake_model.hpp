// A model for tests whose every next token depends on every byte of KV cache it should depend on.
//
// The slot of position p holds c(p) = mix(c(p-1), token(p)), read back from the cache when the next row is
// computed; the next token is a fold over all slots. So a wrong block, a missed write, memory reused too
// early or a damaged transfer shows in the output.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "baton/model/kv_spec.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton::test {

inline constexpr std::int32_t kFakeVocab = 1000;

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15ULL + b + 0x632be59bd9b4e019ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

inline TokenId next_token(std::uint64_t fold, const Request& request) {
  return static_cast<TokenId>(mix(fold, request.sampling.seed + request.choice) % (kFakeVocab - 1)) + 1;
}

// What a lone, undisturbed run generates.
inline std::vector<TokenId> expected_output(const Request& request) {
  std::vector<TokenId> output;
  std::uint64_t slot = 0, fold = 0;
  const auto push = [&](TokenId token) {
    slot = mix(slot, static_cast<std::uint64_t>(token));
    fold = mix(fold, slot);
  };
  for (const TokenId token : request.prompt) push(token);
  for (std::int32_t i = 0; i < request.stop.max_tokens; ++i) {
    output.push_back(next_token(fold, request));
    push(output.back());
  }
  return output;
}

// One layer in each group, one head, 4 bytes of K and 4 of V a token. There is a group without a window, and
// all say the same.
inline KvSpec fake_kv_spec(std::int32_t block_size, const KvGroups& groups = {}) {
  KvSpec spec;
  spec.layout = KvLayout{DType::f32, 1, 1, 1, block_size, groups};
  for (std::int32_t group = 0; group < groups.count(); ++group) spec.places.emplace_back(0, group);
  return spec;
}

class FakeExecutor final : public Executor {
 public:
  explicit FakeExecutor(KvView kv, std::chrono::microseconds step_time = {})
      : kv_(kv), step_time_(step_time) {}

  void submit(const StepPlan& plan) override { plan_ = &plan; }
  StepResult wait() override {
    if (step_time_.count() > 0) std::this_thread::sleep_for(step_time_);
    StepResult result;
    for (const PlannedRows& rows : plan_->rows) result.rows.push_back(run(rows));
    return result;
  }

 private:
  RowResult run(const PlannedRows& rows) {
    const Sequence& sequence = *rows.sequence;
    const KvGroups& groups = kv_.layout.groups;
    for (std::int32_t p = rows.first_position; p < rows.first_position + rows.rows; ++p) {
      const std::uint64_t before = p == 0 ? 0 : load(sequence, p - 1, 0);
      const auto token = static_cast<std::uint64_t>(rows.token(p - rows.first_position));
      for (std::int32_t group = 0; group < groups.count(); ++group)
        store(sequence, p, group, mix(before, token));
    }
    RowResult result;
    if (!rows.sample) return result;
    const auto guesses = static_cast<std::int32_t>(rows.draft.size());
    const std::int32_t newest = rows.first_position + rows.rows - 1 - guesses;
    result.token = SampledToken{sampled(sequence, newest), -1.0F, {}};
    TokenId last = result.token->token;
    for (std::int32_t i = 0; i < guesses && last == rows.draft[static_cast<std::size_t>(i)]; ++i) {
      result.further.push_back({last = sampled(sequence, newest + 1 + i), -1.0F, {}});
    }
    return result;
  }

  // By what is seen from position `last`.
  TokenId sampled(const Sequence& sequence, std::int32_t last) const {
    const KvGroups& groups = kv_.layout.groups;
    std::uint64_t fold = 0;
    for (std::int32_t p = 0; p <= last; ++p) {
      const std::uint64_t value = load(sequence, p, 0);
      fold = mix(fold, value);
      for (std::int32_t group = 1; group < groups.count(); ++group)
        if (group < groups.full || p > last - groups.window) fold ^= load(sequence, p, group) ^ value;
    }
    return next_token(fold, sequence.request);
  }

  std::byte* half(const Sequence& sequence, std::int32_t p, std::int32_t group, int k_or_v) const {
    const std::int32_t size = kv_.layout.block_size;
    const BlockId id = sequence.blocks.at(static_cast<std::size_t>(p / size), group).id();
    return kv_.piece(std::max(id, 0), 0, k_or_v, 0) + 4 * (p % size);
  }
  std::uint64_t load(const Sequence& sequence, std::int32_t p, std::int32_t group) const {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, half(sequence, p, group, 0), 4);
    std::memcpy(&high, half(sequence, p, group, 1), 4);
    return static_cast<std::uint64_t>(high) << 32 | low;
  }
  void store(const Sequence& sequence, std::int32_t p, std::int32_t group, std::uint64_t value) {
    const auto low = static_cast<std::uint32_t>(value), high = static_cast<std::uint32_t>(value >> 32);
    std::memcpy(half(sequence, p, group, 0), &low, 4);
    std::memcpy(half(sequence, p, group, 1), &high, 4);
  }

  const KvView kv_;
  const std::chrono::microseconds step_time_;
  const StepPlan* plan_ = nullptr;
};

}  // namespace baton::test
