// A group on the CPU in which one rank can be made to fail in the middle of a forward pass.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "baton/tensor/group.hpp"

namespace baton::test {

// Another Ops, but for a matmul that throws when it is told to.
class FailingOps final : public Ops {
 public:
  enum class Failure { none, device, memory };

  explicit FailingOps(Ops& ops) : ops_(ops) {}
  bool fails_to_pack = false;  // once
  // The matmul after `matmuls` more, once.
  void fail(Failure failure, int matmuls) {
    left_ = matmuls;
    failure_ = failure;
  }
  std::atomic<bool> alive = true;  // what settle() says

  Device device() const override { return ops_.device(); }
  GroupPlace place() const override { return ops_.place(); }
  std::string numerics_id() const override { return ops_.numerics_id(); }
  Result<Linear> pack(std::span<const WeightView> weights) override {
    if (std::exchange(fails_to_pack, false)) throw std::bad_alloc();
    return ops_.pack(weights);
  }
  Result<Linear> adapt(const Linear& weight, std::span<const AdapterView> adapters) override {
    return ops_.adapt(weight, adapters);
  }
  Result<Linear> pack_vector(const WeightView& weight) override { return ops_.pack_vector(weight); }
  Result<Experts> pack_experts(std::span<const ExpertView> experts) override {
    return ops_.pack_experts(experts);
  }
  Result<std::shared_ptr<const void>> prepare_rope(const RopeTable& table) override {
    return ops_.prepare_rope(table);
  }
  void begin_step(const Batch& batch, const KvView& kv) override {
    scopes_.clear();
    ops_.begin_step(batch, kv);
  }
  Tensor embed(const Linear& table, std::span<const std::int32_t> tokens) override {
    return ops_.embed(table, tokens);
  }
  Tensor gather_rows(const Tensor& x, std::span<const std::int32_t> rows) override {
    return ops_.gather_rows(x, rows);
  }
  Tensor rms_norm(const Tensor& x, const Linear& weight, float epsilon) override {
    return ops_.rms_norm(x, weight, epsilon);
  }
  void head_norm(Tensor heads, const Linear& weight, float epsilon) override {
    ops_.head_norm(heads, weight, epsilon);
  }
  Tensor add(Tensor x, const Tensor& y) override { return ops_.add(x, y); }
  Tensor matmul(const Tensor& x, const Linear& weight) override {
    if (failure_ != Failure::none && left_-- == 0) {
      const Failure failure = std::exchange(failure_, Failure::none);
      if (failure == Failure::memory) throw std::bad_alloc();
      throw DeviceFailure("made to fail");
    }
    return ops_.matmul(x, weight);
  }
  void rope(Tensor heads, std::int32_t head_dim, const void* prepared) override {
    ops_.rope(heads, head_dim, prepared);
  }
  void store_kv(KvPlace place, const Tensor& k, const Tensor& v) override { ops_.store_kv(place, k, v); }
  Tensor attention(KvPlace place, const Tensor& q, const AttentionShape& shape) override {
    return ops_.attention(place, q, shape);
  }
  Tensor gate_mul(const Tensor& gate_up, Activation activation) override {
    return ops_.gate_mul(gate_up, activation);
  }
  Tensor mixture(const Tensor& x, const Linear& router, const Experts& experts, const ExpertChoice& choice,
                 Activation activation) override {
    return ops_.mixture(x, router, experts, choice, activation);
  }
  Tensor add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                      const Tensor& room, const Linear* next) override {
    return ops_.add_rms_norm(x, y, factor, weight, epsilon, room, next);
  }
  Tensor all_reduce(Tensor x) override { return ops_.all_reduce(x); }
  Tensor gather_columns(const Tensor& x, std::int64_t cols) override { return ops_.gather_columns(x, cols); }
  bool settle() noexcept override { return alive; }
  std::span<const float> to_host(const Tensor& x) override { return ops_.to_host(x); }

 private:
  std::size_t scope_begin() override {
    scopes_.push_back(std::make_unique<Scope>(ops_));
    return 0;
  }
  void scope_end(std::size_t) override {
    if (!scopes_.empty()) scopes_.pop_back();
  }

  Ops& ops_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  Failure failure_ = Failure::none;
  int left_ = 0;
};

class FailingGroup final : public OpsGroup {
 public:
  explicit FailingGroup(OpsGroup& group) : group_(group) {
    for (std::int32_t rank = 0; rank < group.width(); ++rank)
      ranks.push_back(std::make_unique<FailingOps>(group.rank(rank)));
  }
  std::int32_t width() const override { return group_.width(); }
  Ops& rank(std::int32_t index) override { return *ranks[static_cast<std::size_t>(index)]; }
  void interrupt() noexcept override { group_.interrupt(); }
  void rejoin() noexcept override {
    in_vain = false;
    group_.rejoin();
  }
  bool gave_up() const noexcept override { return in_vain || group_.gave_up(); }

  std::atomic<bool> in_vain = false;  // as if a device had waited for another without its host's knowledge
  std::vector<std::unique_ptr<FailingOps>> ranks;

 private:
  OpsGroup& group_;
};

}  // namespace baton::test
