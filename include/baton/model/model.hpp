// Model: a loaded decoder. The forward pass is written once, for every device, in terms of Ops.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/model/adapter.hpp"
#include "baton/model/config.hpp"
#include "baton/model/kv_spec.hpp"
#include "baton/tensor/group.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {

// What is done to the weights of projections and experts when they are loaded; embeddings, the output, norms
// and routers keep their type.
enum class Quantization : std::uint8_t {
  none,
  fp8,  // e4m3 with a scale for each output; what is e4m3 so already stays as it is
};

using LoadProgress = std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>;

struct LoadOptions {
  LoadProgress progress = {};
  Quantization quantization = Quantization::none;
  std::int32_t max_context = 0;  // as for load_model_config
  std::vector<AdapterSource> adapters = {};
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  // Weights + config: equal fingerprints mean equal models. Hashes names, shapes and bytes (of large tensors,
  // evenly spaced samples).
  virtual Hash128 fingerprint() const = 0;
  // As Batch::adapters counts them: in the order of LoadOptions::adapters.
  virtual std::span<const AdapterInfo> adapters() const { return {}; }
  // KV dtype where none is given: f32 for f32 checkpoints, else bf16.
  virtual KvSpec kv_spec(std::int32_t block_size, std::optional<DType> kv_dtype = {}) const = 0;
  // Logits of batch.logit_rows, [logit_rows, vocab] f32. Writes the batch's K and V into `kv`. Engine thread
  // only.
  virtual Tensor forward(const Batch& batch, const KvView& kv, Ops& ops) = 0;
  // After a forward pass whose batch wants it, until the next one: the final norm's output for
  // batch.logit_rows, [logit_rows, hidden], times the model's logits_factor. Of a group it is rank 0's to
  // read.
  virtual Tensor hidden() const { return {}; }
  // After a forward pass that threw: Ops::settle for every device that computes it.
  virtual bool settle(Ops& ops) noexcept { return ops.settle(); }
};

// Reads config and safetensors (one file or an index with shards, mapped into memory). The Ops must outlive
// the model.
Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadOptions& options = {});

// A model that the group's ranks compute together: each has its share of the weights and a thread; forward()
// is for rank 0's Ops, which gets the logits. The KvView's layout has the heads of all ranks.
Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, OpsGroup& group,
                                          const LoadOptions& options = {});

}  // namespace baton
