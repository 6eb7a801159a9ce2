// CudaOps: Ops on one GPU. One stream, one engine thread; every operation is launched and nothing waits but
// to_host() and sample(). Activations are bf16, f16 or f32, whatever the checkpoint holds; sums are f32.
//
// Decode steps are recorded as CUDA graphs, one for each number of rows (rounded up), with adapters and
// without, and replayed. What a recorded step reads lies at addresses that stay: the step's tables
// (StepUpload) and the workspace. When one of them has to move, the recordings are dropped.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "baton/tensor/ops.hpp"
#include "exchange.hpp"
#include "gemm.hpp"
#include "kernels/cuda/paged_kv.hpp"
#include "kernels/cuda/rows.hpp"
#include "linear.hpp"
#include "sampling.hpp"
#include "step_upload.hpp"
#include "tensor/workspace.hpp"

namespace baton {

class CudaOps : public Ops {
 public:
  // `exchange`: of the group that it is a rank of, and outlives it; null: alone.
  static Result<std::unique_ptr<CudaOps>> make(const OpsOptions& options, GroupPlace place = {},
                                               const CudaExchange* exchange = nullptr);
  ~CudaOps() override;

  Device device() const override { return device_; }
  GroupPlace place() const override { return place_; }
  std::string numerics_id() const override;
  Result<void> begin_model(const ModelTypes& types) override;
  Result<Linear> pack(std::span<const WeightView> weights) override;
  Result<Linear> adapt(const Linear& weight, std::span<const AdapterView> adapters) override;
  Result<Linear> pack_vector(const WeightView& weight) override;
  Result<Experts> pack_experts(std::span<const ExpertView> experts) override;
  Result<std::shared_ptr<const void>> prepare_rope(const RopeTable& table) override;

  void begin_step(const Batch& batch, const KvView& kv) override;
  Tensor run_step(const Batch& batch, const KvView& kv,
                  const std::function<Tensor(const Batch&)>& forward) override;

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
  Tensor gate_mul(const Tensor& gate_up, Activation activation) override;
  Tensor add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                      const Tensor& room, const Linear* next) override;
  Tensor rope_store(KvPlace place, const Tensor& qkv, const AttentionShape& shape, const void* prepared,
                    const HeadNorms& norms) override;
  Tensor gated_matmul(const Tensor& x, const Linear& gate_up, Activation activation,
                      const Linear* next) override;
  Tensor logits(const Tensor& x, const Linear& weight) override;
  Tensor all_reduce(Tensor x) override;
  Tensor gather_columns(const Tensor& x, std::int64_t cols) override;
  std::optional<std::vector<RowSample>> sample(const Tensor& logits,
                                               std::span<const RowSampling> rows) override;
  bool samples() const override { return true; }
  bool settle() noexcept override;
  std::span<const float> to_host(const Tensor& x) override;

  cudaStream_t stream() const { return stream_; }

 protected:
  CudaOps(const OpsOptions& options, const GpuInfo& gpu, GroupPlace place = {},
          const CudaExchange* exchange = nullptr);
  static Result<GpuInfo> choose_gpu(Device device);
  Result<void> start();  // makes the stream and what hangs on it
  Result<void> has_kernels();
  DType activations() const { return activations_; }

 private:
  using StepShape = std::pair<std::size_t, bool>;  // rows, and whether any has an adapter
  struct Recording {
    cudaGraphExec_t graph = nullptr;
    Tensor result;
  };

  std::size_t scope_begin() override;
  void scope_end(std::size_t mark) override;
  Tensor allocate(std::int64_t rows, std::int64_t cols, DType dtype);
  Tensor allocate_codes(std::int64_t rows, std::int64_t cols);  // e4m3 and scales_of() them
  Tensor allocate(std::int64_t rows, std::int64_t cols) { return allocate(rows, cols, activations_); }
  const std::int32_t* on_device(std::span<const std::int32_t> values);  // of the batch where it is part of it
  Codes codes_of(std::span<const WeightView> weights) const;
  Tensor product(const Tensor& x, const CudaMatrix& weight, DType result, cuda::Gate gate = cuda::Gate::none);
  bool library_product(const Tensor& x, const CudaMatrix& weight, const Tensor& y);
  bool takes_codes(const Linear* next, std::int64_t rows);
  const std::int32_t* adapters_of(const Linear& weight, std::int64_t rows) const;
  void add_adapters(const Tensor& x, const Linear& weight, const Tensor& y);
  void* attention_workspace(const AttentionShape& shape);
  cuda::PagedKv layer_of(std::int32_t layer) const;
  const Batch& pad(const Batch& batch, std::size_t rows);
  cudaGraphExec_t record(const Batch& batch, const std::function<Tensor(const Batch&)>& forward,
                         Tensor& result);
  void drop_recordings();
  void require_group() const;

  const Device device_;
  const GpuInfo gpu_;
  const GroupPlace place_;
  const CudaExchange* const exchange_;  // of a group
  const bool activations_fixed_;
  const bool deterministic_;
  bool fp8_products_ = false;
  bool rounds_rows_ = false;  // a weight was packed that many rows are rounded for
  bool has_adapters_ = false;
  std::map<std::tuple<std::int64_t, std::int64_t, bool, std::int64_t>, bool> code_products_;  // takes_codes
  DType activations_ = DType::bf16;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<CublasGemm> gemm_;
  std::unique_ptr<StepUpload> step_;
  std::unique_ptr<DeviceSampler> sampler_;
  Workspace workspace_;
  Workspace host_;  // what to_host returned
  struct PartialsShape {
    std::int32_t items = 0, query_heads = 0, kv_heads = 0, head_dim = 0;
    bool operator==(const PartialsShape&) const = default;
  };
  PartialsShape partials_shape_;
  Buffer partials_;  // of split attention and split products, counters included
  int open_scopes_ = 0;
  std::span<const std::int32_t> batch_tokens_, batch_logit_rows_, batch_adapters_,
      batch_logit_adapters_;  // of the current batch: the device has them
  KvView kv_;

  Batch padded_;
  std::map<StepShape, Recording> recordings_;
  std::set<StepShape> seen_;  // have run plainly
  std::uint64_t recorded_generation_ = 0;
  std::size_t recorded_capacity_ = 0;
  std::byte* recorded_kv_ = nullptr;
  KvLayout recorded_layout_;
  bool recording_ = false;
};

}  // namespace baton
