// The pre-norm decoder with rotary embedding, grouped-query attention and SwiGLU (arXiv 2302.13971,
// 2307.09288, 2407.21783), and its variants: biases and norms of heads (Qwen 2 and 3: 2407.10671,
// 2505.09388), mixtures of experts in place of the FFN (Mixtral: 2401.04088), layers that see a window
// (Mistral: 2310.06825), norms around attention and FFN (Gemma 3: 2503.19786), sinks (gpt-oss: 2508.10925),
// and what is settled when weights are loaded (docs/decisions/0018-families.md). Written in terms of Ops
// only; owns its packed weights: in a group, its rank's share of heads, FFNs and outputs.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "baton/model/model.hpp"
#include "model/model_files.hpp"

namespace baton {

class DecoderModel : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const ModelFiles& files, Ops& ops, const LoadProgress& progress,
                                             Quantization quantization);

  const ModelConfig& config() const override { return config_; }
  Hash128 fingerprint() const override { return fingerprint_; }
  std::span<const AdapterInfo> adapters() const override { return adapters_; }
  KvSpec kv_spec(std::int32_t block_size, std::optional<DType> kv_dtype) const override;
  Tensor forward(const Batch& batch, const KvView& kv, Ops& ops) override;
  Tensor hidden() const override { return hidden_; }

 private:
  struct Layer {
    const void* rope = nullptr;  // one of rope_, window_rope_ and no_rope_
    std::int32_t window = 0;     // positions that attention sees; 0: all
    KvPlace place = 0;           // of its keys and values
    Linear attention_norm;       // [hidden]
    Linear qkv;                  // [hidden] -> [(query_heads + 2 * kv_heads) * head_dim]
    Linear query_norm;           // [head_dim], or none
    Linear key_norm;             // [head_dim], or none
    Linear sinks;                // [query_heads], or none
    Linear output;               // [query_heads * head_dim] -> [hidden]
    Linear attended_norm;        // [hidden], of what attention adds, or none
    Linear ffn_norm;             // [hidden]
    Linear gate_up;              // [hidden] -> [2 * ffn]; none where there are experts
    Linear down;                 // [ffn] -> [hidden]
    Linear fed_norm;             // [hidden], of what the FFN adds, or none
    Linear router;               // [hidden] -> [experts]
    Linear choice_bias;          // [experts], or none
    Experts experts;
    Linear shared_gate_up;  // [hidden] -> [2 * shared ffn], beside experts, or none
    Linear shared_down;     // [shared ffn] -> [hidden]
  };

  DecoderModel(ModelConfig config, GroupPlace place) : config_(std::move(config)), place_(place) {}
  Result<void> prepare_rope(Ops& ops);
  void read_weights(class WeightSource& source);
  Layer read_layer(class WeightSource& source, std::int32_t index) const;
  void read_feed_forward(class WeightSource& source, std::int32_t index, Layer& layer) const;
  void read_mixture(class WeightSource& source, const std::string& block, Layer& layer) const;
  AttentionShape attention_shape(const Layer& layer) const;
  Tensor normed_by(const Linear& norm, const Tensor& added, Ops& ops) const;
  ExpertChoice expert_choice(const Layer& layer) const;
  Tensor feed_forward(const Tensor& x, const Layer& layer, Ops& ops) const;
  Tensor run_layers(const Batch& batch, Ops& ops);  // logits of batch.logit_rows

  ModelConfig config_;  // of the whole model
  const GroupPlace place_;
  Hash128 fingerprint_;
  std::vector<AdapterInfo> adapters_;
  Linear embed_;    // [vocab, hidden]
  Linear norm_;     // [hidden]
  Linear lm_head_;  // [hidden] -> [vocab]; embed_ where tied
  std::shared_ptr<const void> rope_;
  std::shared_ptr<const void> window_rope_;  // of windowed layers; null where they have no other
  std::shared_ptr<const void> no_rope_;      // of layers that are not rotated; null where there are none
  std::vector<Layer> layers_;
  Tensor hidden_;
};

}  // namespace baton
