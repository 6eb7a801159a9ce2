// ModelShape: the sizes of a model that decide what it costs, of any architecture that config.json describes.
//
// Wider than ModelConfig, which only knows what Baton runs: mixtures of experts, latent (MLA), sliding,
// sparse and linear attention, hybrids. The planner and the simulator work on shapes; nothing computes tokens
// from them. Counts are exact up to norms, biases and convolutions, which are left out (< 0.1 % of a model).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

struct ModelConfig;

// What a weight or a KV element is stored as. fp4 and int4 include their scales, per 16 and per 32 elements;
// float16 counts as bf16.
enum class Precision : std::uint8_t { bf16, fp8, fp4, int4, f32 };
std::string_view to_string(Precision precision);
std::optional<Precision> parse_precision(std::string_view name);
double bytes_per_element(Precision precision);

struct ModelShape {
  std::string architecture;
  double layers = 0, hidden = 0, vocab = 0, max_positions = 0;
  bool tied = false;  // the output head is the embedding table
  double query_heads = 0, kv_heads = 0, head_dim = 0;
  bool output_gate = false;  // of attention: as wide as the queries
  // How many layers have what; a hybrid's layer may have attention or an FFN alone.
  double attention_layers = 0;  // softmax attention, with a KV cache
  double window_layers = 0;     // of these, with a sliding window
  double linear_layers = 0;     // linear attention or Mamba: a state instead of a KV cache
  double dense_layers = 0;      // one FFN
  double expert_layers = 0;     // routed experts
  double ffn = 0, ffn_matrices = 3;
  double experts = 0, experts_per_token = 0, expert_ffn = 0;
  double shared_ffn = 0;     // of the experts that every token passes, their widths added up
  double window = 0;         // tokens
  double sparse_tokens = 0;  // that a query attends to at most; 0: to all
  // Multi-head latent attention; kv_rank 0: none.
  double query_rank = 0, kv_rank = 0, nope_dim = 0, rope_dim = 0, value_dim = 0;
  double linear_parameters = 0;  // of one linear layer
  double linear_state = 0;       // elements, one sequence in one linear layer
  Precision stored = Precision::bf16;
  bool block_scales = false;  // of fp8 weights: one for each block, not for a tensor or an output

  bool latent() const { return kv_rank > 0; }
  double attention_parameters() const;  // of one attention layer
  double ffn_parameters() const { return ffn_matrices * hidden * ffn; }
  double expert_parameters() const { return ffn_matrices * hidden * expert_ffn; }  // of one expert
  double shared_parameters() const { return ffn_matrices * hidden * shared_ffn; }  // of one layer
  double kv_elements() const;  // one token in one attention layer
  double score_width() const;  // multiplications of one query with one key and its value, all heads
  double embedding_parameters() const { return vocab * hidden; }
  double dense_parameters() const;   // read for every token, embeddings and output head apart
  double routed_parameters() const;  // of all routed experts
  double parameters() const;
  double active_parameters() const;  // that one token passes
};

// From the text of config.json. Errors name `file` and the key.
Result<ModelShape> parse_model_shape(std::string_view config_json, const std::string& file = "config.json");
ModelShape shape_of(const ModelConfig& config);

}  // namespace baton
