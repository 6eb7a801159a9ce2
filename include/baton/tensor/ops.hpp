// Ops: the operations a forward pass is written in, once for every device.
//
// Sameness (DESIGN 6): a row's result depends only on its own token, position and context, bit for bit: one
// K-order for every number of rows, attention split at fixed absolute positions and merged in order. No
// chunking, batch, block size or thread count changes it. Results live in the Ops' workspace until the
// enclosing Scope ends. One thread drives an Ops; inside it may use several. Preconditions (shapes, dtypes,
// ids in range) are the caller's; they are asserted in debug builds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/tensor/batch.hpp"
#include "baton/tensor/buffer.hpp"
#include "baton/tensor/sampling.hpp"
#include "baton/tensor/tensor.hpp"

namespace baton {

// A weight as it lies in a checkpoint: [out, in] row-major, any float dtype, unaligned allowed. e4m3 (fp8)
// has scales: an output's weights are its elements times its scale.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t out = 0;
  std::int64_t in = 0;
  const void* bias = nullptr;          // [out], or none
  DType bias_dtype = DType::f32;       // of an e4m3 weight's bias; others' have the weight's dtype
  std::span<const float> scales = {};  // of e4m3: [1] or [out]

  DType bias_type() const { return dtype == DType::e4m3 ? bias_dtype : dtype; }
  float scale_of(std::int64_t output) const {
    return scales.size() == 1 ? scales[0] : scales[static_cast<std::size_t>(output)];
  }
};
// One scale, or one for each output, where the weight is e4m3; none elsewhere.
inline bool has_its_scales(const WeightView& view) {
  if (view.dtype != DType::e4m3) return view.scales.empty();
  return view.scales.size() == 1 || view.scales.size() == static_cast<std::size_t>(view.out);
}

// What one adapter adds to a weight (LoRA, arXiv 2106.09685): its rows get y += up (scales * (down x)).
struct AdapterView {
  WeightView down;                     // [rank, in], no bias; no data: this adapter leaves the weight alone
  WeightView up;                       // [out, rank], no bias
  std::span<const float> scales = {};  // [rank]
};
inline constexpr std::int64_t kMostAdapterRank = 1024;

// An opaque weight made by Ops::pack: packed, perhaps quantised or split, perhaps with adapters; model code
// never looks inside.
class Linear {
 public:
  struct Body {
    virtual ~Body() = default;
    std::int64_t in = 0;
    std::int64_t out = 0;
  };
  struct Adapters {
    virtual ~Adapters() = default;
  };
  Linear() = default;
  explicit Linear(std::shared_ptr<const Body> body) : body_(std::move(body)) {}
  Linear(const Linear& base, std::shared_ptr<const Adapters> adapters)
      : body_(base.body_), adapters_(std::move(adapters)) {}
  std::int64_t in() const { return body_->in; }
  std::int64_t out() const { return body_->out; }
  const Body& body() const { return *body_; }
  const Adapters* adapters() const { return adapters_.get(); }  // null: none
  explicit operator bool() const { return body_ != nullptr; }

 private:
  std::shared_ptr<const Body> body_;  // shared: tied embeddings use one weight twice
  std::shared_ptr<const Adapters> adapters_;
};

// What a gate does to what passes it, in an FFN.
enum class Activation : std::uint8_t {
  silu,          // gate / (1 + e^-gate) * up
  gelu,          // gate * (1 + tanh(sqrt(2 / pi) * (gate + 0.044715 gate^3))) / 2 * up
  clamped_silu,  // g / (1 + e^(-1.702 g)) * (u + 1), g = gate up to 7, u = up from -7 to 7 (gpt-oss)
};
inline constexpr float kClampedSiluLimit = 7.0F;
inline constexpr float kClampedSiluSlope = 1.702F;

// One expert of a mixture: an FFN of its own. gate and up are [ffn, in], down [in, ffn]; all three have
// biases or none has.
struct ExpertView {
  WeightView gate, up, down;
};

// The experts of one layer, made by Ops::pack_experts; opaque like Linear.
class Experts {
 public:
  struct Body {
    virtual ~Body() = default;
    std::int64_t in = 0;
    std::int64_t ffn = 0;
    std::int32_t count = 0;
  };
  Experts() = default;
  explicit Experts(std::shared_ptr<const Body> body) : body_(std::move(body)) {}
  std::int64_t in() const { return body_->in; }
  std::int64_t ffn() const { return body_->ffn; }
  std::int32_t count() const { return body_->count; }
  const Body& body() const { return *body_; }
  explicit operator bool() const { return body_ != nullptr; }

 private:
  std::shared_ptr<const Body> body_;
};

// At most these, on every device, so that a model that one runs the others run too.
inline constexpr std::int32_t kMostExperts = 512;
inline constexpr std::int32_t kMostExpertsPerToken = 32;

// How a row chooses: the `per_token` experts with the largest scores, ties to the lower id. Their scores are
// the weights, divided by their sum where `renormalise`, times `factor`.
struct ExpertChoice {
  enum class Scores : std::uint8_t { softmax, sigmoid };  // of the router's outputs

  std::int32_t per_token = 1;
  bool renormalise = true;
  Scores scores = Scores::softmax;
  float factor = 1.0F;
  const Linear* bias = nullptr;  // [experts], added to scores for the choice alone (DeepSeek V3), or null
  // Chosen are experts of the `kept_groups` best of `groups` groups of consecutive experts: those with the
  // largest score, or with a bias the largest sum of two.
  std::int32_t groups = 1;
  std::int32_t kept_groups = 1;
};
inline constexpr std::int32_t kMostExpertGroups = 32;

// Norms of single heads before the rotation (Qwen 3): weights [head_dim], or null for none.
struct HeadNorms {
  const Linear* query = nullptr;
  const Linear* key = nullptr;
  float epsilon = 1e-6F;
};

// Rotary embedding: angle of pair i at position p is p * inv_frequency[i]; cos and sin are multiplied by
// `scale` (yarn's attention factor). Pairs are (i, i + head_dim / 2), Hugging Face's order. A pair of
// frequency 0 stays as it is, `scale` or not.
struct RopeTable {
  std::vector<float> inv_frequency = {};  // [head_dim / 2]
  float scale = 1.0F;
  std::int32_t max_positions = 0;
};

struct AttentionShape {
  std::int32_t query_heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  float scale = 1.0F;  // usually 1 / sqrt(head_dim)
  // A row sees its own position and the window - 1 before it; 0: all before it. Either 0 or the window that
  // begin_model() was told.
  std::int32_t window = 0;
  // [query_heads] scores that take part in the softmax and have no value (gpt-oss), or null for none.
  const Linear* sinks = nullptr;
};

// What a model is made for. Backends that compute in the checkpoint's element type choose it by this.
struct ModelTypes {
  DType weights = DType::bf16;  // of what is not e4m3
  bool fp8_products = false;    // where weights are e4m3, activations may be rounded to it too
  std::int32_t window = 0;      // of those layers whose attention has one; 0: none has
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual Device device() const = 0;
  // Among the Ops of a group (group.hpp) whose ranks share the layers of one model.
  virtual GroupPlace place() const { return {}; }
  // Backend, ISA path, dtypes, the group's width: engines with equal ids compute equal bits, e.g.
  // "cpu/avx2/f32", "cpu/avx2/f32/tp2".
  virtual std::string numerics_id() const = 0;

  // Told before a model's weights are packed.
  virtual Result<void> begin_model(const ModelTypes& /*types*/) { return {}; }
  // Weights. Several views that share `in` become one Linear whose outputs lie side by side (q|k|v, gate|up).
  virtual Result<Linear> pack(std::span<const WeightView> weights) = 0;
  // The weight with what each adapter adds to it. Products by it add to a row what its adapter does
  // (Batch::adapters: an index into `adapters`); embed() and mixture() do not. invalid_argument for views
  // that do not fit the weight; unsupported beyond kMostAdapterRank.
  virtual Result<Linear> adapt(const Linear& weight, std::span<const AdapterView> adapters) = 0;
  virtual Result<Linear> pack_vector(
      const WeightView& weight) = 0;  // a norm's weight: out = 1, in = n, kept as f32
  // invalid_argument unless every expert has the first one's shape and type; unsupported beyond kMostExperts.
  virtual Result<Experts> pack_experts(std::span<const ExpertView> experts) = 0;
  virtual Result<std::shared_ptr<const void>> prepare_rope(
      const RopeTable& table) = 0;  // cos/sin per position, computed in double

  // Workspace: tensors made after scope_begin are released by the matching scope_end, innermost first.
  class Scope {
   public:
    explicit Scope(Ops& ops) : ops_(ops), mark_(ops.scope_begin()) {}
    ~Scope() { ops_.scope_end(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Ops& ops_;
    std::size_t mark_;
  };

  // Makes the batch known to the device; it and `kv` stay valid and unchanged until the next begin_step.
  // Releases what to_host returned and, where no Scope is open, every tensor.
  virtual void begin_step(const Batch& batch, const KvView& kv) = 0;
  // One forward pass over `batch`: what `forward` returns. A device may record the pass once for a number of
  // rows and replay the recording: then it pads the batch with rows of position -1, for which KV is neither
  // read nor written, and `forward` is not called again. So `forward` may depend on the batch's shape and on
  // nothing that changes.
  virtual Tensor run_step(const Batch& batch, const KvView& kv,
                          const std::function<Tensor(const Batch&)>& forward) {
    (void)kv;
    return forward(batch);
  }

  virtual Tensor embed(const Linear& table,
                       std::span<const std::int32_t> tokens) = 0;  // [rows, hidden]; no e4m3 table
  virtual Tensor gather_rows(const Tensor& x, std::span<const std::int32_t> rows) = 0;  // [rows.size(), cols]
  virtual Tensor rms_norm(const Tensor& x, const Linear& weight, float epsilon) = 0;    // [rows, hidden]
  virtual void head_norm(Tensor heads, const Linear& weight,
                         float epsilon) = 0;  // rms_norm of each head, in place, [rows, n * weight.in()]
  virtual Tensor add(Tensor x, const Tensor& y) = 0;                 // x += y, returns x
  virtual Tensor matmul(const Tensor& x, const Linear& weight) = 0;  // [rows, out] (+ bias)
  virtual void rope(Tensor heads, std::int32_t head_dim,
                    const void* prepared) = 0;  // in place, [rows, n * head_dim], batch positions
  virtual void store_kv(KvPlace place, const Tensor& k,
                        const Tensor& v) = 0;  // [rows, kv_heads * head_dim] into the slots
  // Causal over the cache, own rows included: [rows, query_heads * head_dim].
  virtual Tensor attention(KvPlace place, const Tensor& q, const AttentionShape& shape) = 0;
  virtual Tensor gate_mul(const Tensor& gate_up, Activation activation) = 0;  // [rows, 2n] -> [rows, n]

  // Sum over a row's experts of weight * down(activation(gate x, up x)); `router` [in] -> [experts] scores
  // them.
  virtual Tensor mixture(const Tensor& x, const Linear& router, const Experts& experts,
                         const ExpertChoice& choice, Activation activation) = 0;  // [rows, in]

  // Fused forms. On the CPU the same bits as their parts; a GPU may round less often in between. Where one
  // has a `next`, its result is read by that product alone, and may be of a type that only that product
  // knows. x += factor * y, returns rms_norm(x), which lies in `room` ([rows, cols] as rms_norm makes it).
  virtual Tensor add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                              const Tensor& room, const Linear* next) = 0;
  // Rows q|k|v: q and k are normed by head where asked for and rotated, k and v go into the cache; returns q.
  virtual Tensor rope_store(KvPlace place, const Tensor& qkv, const AttentionShape& shape,
                            const void* prepared, const HeadNorms& norms = {});
  virtual Tensor gated_matmul(const Tensor& x, const Linear& gate_up, Activation activation,
                              const Linear* /*next*/) {
    return gate_mul(matmul(x, gate_up), activation);
  }
  virtual Tensor logits(const Tensor& x, const Linear& weight) { return matmul(x, weight); }  // always f32

  // Of a group: all ranks call these in the same order, with as many rows. Alone they change nothing.
  // x += the other ranks' x, the sum in order of rank in f32, so that all ranks have the same bits.
  virtual Tensor all_reduce(Tensor x) { return x; }
  // Of columns that are shared out by share_of(cols): all of them, [rows, cols] f32, on rank 0; elsewhere
  // nothing.
  virtual Tensor gather_columns(const Tensor& x, std::int64_t /*cols*/) { return x; }
  // Picks a token from each row of logits, on the device; may change `logits`. Nothing where the device
  // leaves it to the host, as the CPU does.
  virtual std::optional<std::vector<RowSample>> sample(const Tensor& /*logits*/,
                                                       std::span<const RowSampling> /*rows*/) {
    return std::nullopt;
  }
  virtual bool samples() const { return false; }  // whether sample() is worth asking
  // After a step that failed half-way: returns when the device has stopped working on it. False: the device
  // computes nothing any more, for this process.
  virtual bool settle() noexcept { return true; }
  virtual std::span<const float> to_host(
      const Tensor& x) = 0;  // f32 values, rows * cols, valid until the next begin_step

 private:
  virtual std::size_t scope_begin() = 0;
  virtual void scope_end(std::size_t mark) = 0;
};

// Thrown by an operation of an Ops whose device failed (std::bad_alloc where it has no memory left):
// operations return tensors and have no other way to say so. The engine thread's root catches it.
struct DeviceFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct GpuInfo {
  std::string name;
  std::uint64_t memory_bytes = 0;
  int compute_capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
};
// unsupported, with the reason: no GPU, no driver or too old a one, a build without CUDA.
Result<std::vector<GpuInfo>> list_gpus();

struct GpuMemory {
  std::uint64_t free = 0;
  std::uint64_t total = 0;
};
Result<GpuMemory> gpu_memory(Device device);

struct OpsOptions {
  Device device = {};
  int threads = 0;  // 0: one per core
  std::string isa =
      "auto";  // "auto", "portable", "avx2", "avx512": for tests and for equal numerics across unlike nodes
  std::optional<DType> activations =
      {};                      // of a GPU: what it computes in; unset: the checkpoint's element type
  bool deterministic = false;  // of a GPU: products of any number of rows in one order of summation
};
// unsupported names what is missing.
Result<std::unique_ptr<Ops>> make_ops(const OpsOptions& options);

}  // namespace baton
