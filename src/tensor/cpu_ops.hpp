// CpuOps: Ops on the host, over the kernels of one instruction set and a pool of threads.
//
// It only splits work and lends memory; arithmetic is the kernels'. How work is split never shows in a
// result: the kernels compute each row in an order of its own.
#pragma once

#include <algorithm>
#include <vector>

#include "baton/tensor/ops.hpp"
#include "cpu_adapters.hpp"
#include "cpu_exchange.hpp"
#include "cpu_experts.hpp"
#include "cpu_linear.hpp"
#include "kernels/cpu/kernels.hpp"
#include "thread_pool.hpp"
#include "workspace.hpp"

namespace baton {

class CpuOps final : public Ops {
 public:
  CpuOps(const kernels::Kernels& kernels, int threads) : kernels_(kernels), pool_(threads) {}
  // A rank of a group; the exchange outlives it.
  CpuOps(const kernels::Kernels& kernels, int threads, GroupPlace place, CpuExchange& exchange)
      : kernels_(kernels), place_(place), exchange_(&exchange), pool_(threads) {}

  Device device() const override { return {}; }
  GroupPlace place() const override { return place_; }
  std::string numerics_id() const override;

  Result<Linear> pack(std::span<const WeightView> weights) override {
    return pack_matrix(weights, kernels_, pool_);
  }
  Result<Linear> adapt(const Linear& weight, std::span<const AdapterView> adapters) override;
  Result<Linear> pack_vector(const WeightView& weight) override { return pack_norm(weight, kernels_); }
  Result<Experts> pack_experts(std::span<const ExpertView> experts) override {
    return baton::pack_experts(experts, kernels_, pool_);
  }
  Result<std::shared_ptr<const void>> prepare_rope(const RopeTable& table) override;

  void begin_step(const Batch& batch, const KvView& kv) override;
  Tensor embed(const Linear& table, std::span<const std::int32_t> tokens) override;
  Tensor gather_rows(const Tensor& x, std::span<const std::int32_t> rows) override;
  Tensor rms_norm(const Tensor& x, const Linear& weight, float epsilon) override;
  void head_norm(Tensor heads, const Linear& weight, float epsilon) override;
  Tensor mixture(const Tensor& x, const Linear& router, const Experts& experts, const ExpertChoice& choice,
                 Activation activation) override;
  Tensor add(Tensor x, const Tensor& y) override;
  Tensor matmul(const Tensor& x, const Linear& weight) override;
  void rope(Tensor heads, std::int32_t head_dim, const void* prepared) override;
  void store_kv(KvPlace place, const Tensor& k, const Tensor& v) override;
  Tensor attention(KvPlace place, const Tensor& q, const AttentionShape& shape) override;
  Tensor add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                      const Tensor& room, const Linear* next) override;
  Tensor gate_mul(const Tensor& gate_up, Activation activation) override;
  Tensor all_reduce(Tensor x) override;
  Tensor gather_columns(const Tensor& x, std::int64_t cols) override;
  std::span<const float> to_host(const Tensor& x) override;

 private:
  // Rows of one sequence that attend together, all query heads of one KV head.
  struct AttentionTask {
    const SequenceRows* sequence = nullptr;
    std::int32_t kv_head = 0;
    std::int32_t first_row = 0;  // within the sequence
    std::int32_t rows = 0;
    std::int64_t first_split = 0;  // that the first of the rows sees
    std::int64_t splits = 0;       // from there on
    std::size_t partials = 0;      // where its partials start, in (row, head, split) units
  };
  struct AttentionCall;  // what all tasks of one call share
  // cos and sin of this step's positions under one prepared table.
  struct Rotation {
    const void* prepared = nullptr;
    std::vector<float> cosine;  // [rows, head_dim / 2]
    std::vector<float> sine;
  };

  std::size_t scope_begin() override;
  void scope_end(std::size_t mark) override;
  Tensor allocate(std::int64_t rows, std::int64_t cols);
  static constexpr std::int64_t kInlineWork =
      1 << 15;  // multiply-adds, or elements, not worth waking a thread for
  static std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
  // body(row) for all rows; inline where waking threads costs more than the work.
  template <class Body>
  void for_rows(std::int64_t rows, std::int64_t cols, Body&& body);
  const Rotation& rotation(const void* prepared);
  Tensor product(const Tensor& x, const Linear& weight);  // without adapters
  void add_adapters(const Tensor& x, const Linear& weight, const Tensor& y);
  void add_adapter(const CpuAdapters::Adapter& adapter, const Tensor& x, std::span<const std::int32_t> rows,
                   const Tensor& y);
  void matmul_direct(const kernels::GemmArgs& args);
  void matmul_blocked(const kernels::GemmArgs& args);
  void plan_attention(const AttentionShape& shape);
  void attend_whole(const AttentionCall& call);
  void attend_by_split(const AttentionCall& call);

  const kernels::Kernels& kernels_;
  const GroupPlace place_;
  CpuExchange* const exchange_ = nullptr;  // of a group
  ThreadPool pool_;
  Workspace workspace_;
  Workspace host_;  // what to_host returned, until the next step
  int open_scopes_ = 0;
  const Batch* batch_ = nullptr;
  KvView kv_;
  std::vector<Rotation> rotations_;
  std::size_t rotations_used_ = 0;
  std::vector<AttentionTask> tasks_;
  std::vector<std::int64_t> split_starts_;  // running count of the tasks' splits
};

template <class Body>
void CpuOps::for_rows(std::int64_t rows, std::int64_t cols, Body&& body) {
  const std::int64_t chunk = std::max<std::int64_t>(1, kInlineWork / 4 / std::max<std::int64_t>(cols, 1));
  if (rows * cols <= kInlineWork) {
    for (std::int64_t row = 0; row < rows; ++row) body(row);
    return;
  }
  pool_.run(ceil_div(rows, chunk), [&](std::int64_t part, int) {
    const std::int64_t last = std::min((part + 1) * chunk, rows);
    for (std::int64_t row = part * chunk; row < last; ++row) body(row);
  });
}

}  // namespace baton
