#include "model/decoder.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "baton/model/capability.hpp"
#include "model/rope.hpp"
#include "model/weight_source.hpp"

namespace baton {
namespace {

// Everything in the configuration that changes a logit or a cached byte.
Hash128 hash_config(const ModelConfig& c) {
  std::string facts = "baton model 1 " + c.architecture;
  for (const std::int32_t fact :
       {c.hidden, c.layers, c.query_heads, c.kv_heads, c.head_dim, c.ffn, c.vocab, c.max_positions,
        std::int32_t{c.tied_embeddings}, std::int32_t{c.attention_bias}, std::int32_t{c.mlp_bias}})
    facts += ' ' + std::to_string(fact);
  if (const MixtureConfig& m = c.mixture; m.experts > 0) {
    for (const std::int32_t fact : {m.experts, m.per_token, m.ffn, std::int32_t{m.renormalise}, m.every})
      facts += ' ' + std::to_string(fact);
    for (const std::int32_t layer : m.dense_layers) facts += " dense " + std::to_string(layer);
    if (m.scores != ExpertChoice::Scores::softmax)
      facts += " sigmoid " + std::to_string(m.groups) + ' ' + std::to_string(m.kept_groups) + ' ' +
               std::to_string(std::bit_cast<std::uint32_t>(m.factor)) + " shared " +
               std::to_string(m.shared_ffn);
  }
  if (c.rotary_dim < c.head_dim) facts += " rotary " + std::to_string(c.rotary_dim);
  for (const std::int32_t layer : c.unrotated_layers) facts += " unrotated " + std::to_string(layer);
  if (c.fp8 == Fp8::products) facts += " fp8 products";
  if (c.fp8_blocks.out > 0)
    facts += " blocks " + std::to_string(c.fp8_blocks.out) + ' ' + std::to_string(c.fp8_blocks.in);
  if (const PackedWeights& p = c.packed; p.kind != PackedWeights::Kind::none)
    for (const std::int32_t fact : {static_cast<std::int32_t>(p.kind), p.bits, p.group,
                                    std::int32_t{p.symmetric}, std::int32_t{p.zeros_less_one}})
      facts += " packed " + std::to_string(fact);
  const auto add_float = [&](float value) {
    facts += ' ' + std::to_string(std::bit_cast<std::uint32_t>(value));
  };
  if (c.window > 0) {
    facts += " window " + std::to_string(c.window);
    for (const std::int32_t layer : c.windowed_layers) facts += ' ' + std::to_string(layer);
  }
  if (c.added_norms) facts += " added norms";
  if (c.sinks) facts += " sinks";
  if (c.activation != Activation::silu)
    facts += " activation " + std::to_string(static_cast<int>(c.activation));
  for (const float factor : {c.residual_factor, c.logits_factor, c.attention_factor}) add_float(factor);
  add_float(c.stream_epsilon);
  if (c.norm_epsilon != c.stream_epsilon) add_float(c.norm_epsilon);
  if (c.norm_offset != 0) add_float(c.norm_offset);
  const auto add_rope = [&](const RopeTable& table) {
    add_float(table.scale);
    for (const float frequency : table.inv_frequency) add_float(frequency);
  };
  add_rope(c.rope);
  if (!c.window_rope.inv_frequency.empty()) add_rope(c.window_rope);
  return hash_string(facts);
}

// They are one tensor of the checkpoint, one below the other.
void fuse(std::vector<WeightSource::Projection>& projections, const std::string& name) {
  std::int64_t outputs = 0;
  for (WeightSource::Projection& part : projections) {
    part.name = name;
    part.first = outputs;
    outputs += part.out;
  }
  for (WeightSource::Projection& part : projections) part.of = outputs;
}

// Whether the checkpoint has an output head that is no copy of the embeddings, whatever config.json says.
bool has_own_head(const Checkpoint& checkpoint) {
  const auto* const head = checkpoint.find("lm_head.weight");
  const auto* const embeddings = checkpoint.find(WeightSource::kEmbeddings);
  return head && embeddings &&
         (head->entry.dtype_name != embeddings->entry.dtype_name ||
          !std::ranges::equal(checkpoint.bytes(*head), checkpoint.bytes(*embeddings)));
}

float attention_factor(const ModelConfig& c) {
  return c.attention_factor > 0 ? c.attention_factor : 1.0F / std::sqrt(static_cast<float>(c.head_dim));
}

}  // namespace

Result<std::unique_ptr<Model>> DecoderModel::load(const ModelFiles& files, Ops& ops,
                                                  const LoadProgress& progress, Quantization quantization) {
  std::unique_ptr<DecoderModel> model(new DecoderModel(files.config, ops.place()));
  if (auto even = shareable(shape_of(model->config_), ops.place().width); !even)
    return std::move(even).error();
  if (model->config_.tied_embeddings && has_own_head(files.checkpoint))
    model->config_.tied_embeddings = false;
  const Hash128 facts = hash_config(model->config_);
  const bool has_codes = model->config_.fp8 != Fp8::none && model->config_.fp8_blocks.out == 0;
  if (quantization == Quantization::fp8 && !has_codes) model->config_.fp8 = Fp8::products;
  WeightSource source(files.checkpoint, facts, model->config_, ops.place(), quantization, files.adapters);
  model->read_weights(source);  // the survey
  source.no_adapter_left_over();
  if (source.error()) return *source.error();
  model->fingerprint_ = source.fingerprint();
  if (const auto dtype = source.dtype_of(WeightSource::kEmbeddings)) model->config_.weights = *dtype;
  if (model->config_.weights == DType::e4m3)
    return make_error(ErrorCode::unsupported, "the embeddings are F8_E4M3; supported: F32, F16, BF16",
                      "model.embed_tokens.weight");
  const ModelTypes types{model->config_.weights, model->config_.fp8 == Fp8::products, model->config_.window};
  if (auto begun = ops.begin_model(types); !begun) return std::move(begun).error();
  if (auto prepared = model->prepare_rope(ops); !prepared) return std::move(prepared).error();
  source.start_packing(ops, progress);
  model->read_weights(source);
  if (source.error()) return *source.error();
  for (const Adapter& adapter : files.adapters)
    model->adapters_.push_back({adapter.name(), adapter.fingerprint()});
  return std::unique_ptr<Model>(std::move(model));
}

Result<void> DecoderModel::prepare_rope(Ops& ops) {
  const auto prepare = [&](const RopeTable& table, std::shared_ptr<const void>& into) -> Result<void> {
    auto made = ops.prepare_rope(table);
    if (!made) return std::move(made).error();
    into = *std::move(made);
    return {};
  };
  if (auto made = prepare(config_.rope, rope_); !made) return made;
  if (!config_.window_rope.inv_frequency.empty())
    if (auto made = prepare(config_.window_rope, window_rope_); !made) return made;
  if (config_.unrotated_layers.empty()) return {};
  RopeTable none = config_.rope;
  std::ranges::fill(none.inv_frequency, 0.0F);
  return prepare(none, no_rope_);
}

void DecoderModel::read_weights(WeightSource& source) {
  const ModelConfig& c = config_;
  embed_ = source.linear(c.hidden, {"model.embed_tokens", c.vocab, false, true});
  layers_.clear();
  const std::vector<KvPlace> places = kv_spec(1, DType::bf16).places;
  for (std::int32_t i = 0; i < c.layers; ++i) {
    layers_.push_back(read_layer(source, i));
    layers_.back().place = places[static_cast<std::size_t>(i)];
  }
  // Layers behind the last one that predict further tokens (DeepSeek V3's MTP) are left out, others are not.
  std::int32_t behind = c.layers;
  const auto layer = [&] { return "model.layers." + std::to_string(behind); };
  while (source.dtype_of(layer() + ".eh_proj.weight")) ++behind;
  source.absent(layer() + ".input_layernorm.weight", "num_hidden_layers");
  norm_ = source.vector("model.norm.weight", c.hidden, {c.logits_factor, c.norm_offset});
  if (c.tied_embeddings) source.absent_packed("lm_head", "tie_word_embeddings");
  if (!c.tied_embeddings)
    lm_head_ = source.linear(c.hidden, {"lm_head", c.vocab, false, true}, Split::outputs);
  else if (place_.width == 1)
    lm_head_ = embed_;
  else
    lm_head_ = source.linear_again(c.hidden, {"model.embed_tokens", c.vocab, false, true}, Split::outputs);
}

DecoderModel::Layer DecoderModel::read_layer(WeightSource& source, std::int32_t index) const {
  using Projections = std::vector<WeightSource::Projection>;
  const ModelConfig& c = config_;
  const std::int64_t q = std::int64_t{c.query_heads} * c.head_dim;
  const std::int64_t kv = std::int64_t{c.kv_heads} * c.head_dim;
  const bool bias = c.attention_bias;
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const std::string attention = layer + "self_attn.";
  Layer w;
  const auto norm = [&](const std::string& name, std::int64_t size) {
    return source.vector(name + ".weight", size, {1.0F, c.norm_offset});
  };
  w.attention_norm = norm(layer + "input_layernorm", c.hidden);
  std::vector<std::int32_t> order;
  if (c.rotary_dim < c.head_dim) order = rotary_order(c.head_dim, c.rotary_dim);
  const bool windowed = std::ranges::binary_search(c.windowed_layers, index);
  w.window = windowed ? c.window : 0;
  w.rope = std::ranges::binary_search(c.unrotated_layers, index) ? no_rope_.get()
           : windowed && window_rope_                            ? window_rope_.get()
                                                                 : rope_.get();
  Projections qkv{{.name = attention + "q_proj", .out = q, .bias = bias, .head_order = order},
                  {.name = attention + "k_proj", .out = kv, .bias = bias, .head_order = order},
                  {.name = attention + "v_proj", .out = kv, .bias = bias}};
  if (c.fused) fuse(qkv, attention + "qkv_proj");
  w.qkv = source.linear(c.hidden, qkv, Split::outputs);
  if (c.head_norms) {
    const VectorChange change{1.0F, c.norm_offset, order};
    w.query_norm = source.vector(attention + "q_norm.weight", c.head_dim, change);
    w.key_norm = source.vector(attention + "k_norm.weight", c.head_dim, change);
  }
  if (c.sinks) w.sinks = source.vector(attention + "sinks", c.query_heads, {}, Split::outputs);
  w.output = source.linear(q, {attention + "o_proj", c.hidden, c.attention_output_bias}, Split::inputs);
  if (c.added_norms) {
    w.attended_norm = norm(layer + "post_attention_layernorm", c.hidden);
    w.fed_norm = norm(layer + "post_feedforward_layernorm", c.hidden);
  }
  w.ffn_norm =
      norm(layer + (c.added_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm"), c.hidden);
  read_feed_forward(source, index, w);
  return w;
}

void DecoderModel::read_feed_forward(WeightSource& source, std::int32_t index, Layer& w) const {
  const ModelConfig& c = config_;
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const std::string mlp = layer + "mlp.";
  if (!c.has_experts(index)) {
    std::vector<WeightSource::Projection> gate_up{
        {.name = mlp + "gate_proj", .out = c.ffn, .bias = c.mlp_bias},
        {.name = mlp + "up_proj", .out = c.ffn, .bias = c.mlp_bias}};
    if (c.fused) fuse(gate_up, mlp + "gate_up_proj");
    w.gate_up = source.linear(c.hidden, gate_up, Split::outputs);
    w.down = source.linear(c.ffn, {mlp + "down_proj", c.hidden, c.mlp_bias}, Split::inputs);
    return;
  }
  read_mixture(source, layer + c.mixture.names.block, w);
}

void DecoderModel::read_mixture(WeightSource& source, const std::string& block, Layer& w) const {
  const std::int64_t hidden = config_.hidden;
  const MixtureConfig& m = config_.mixture;
  const std::string router = block + m.names.router, experts = block + "experts.";
  w.router = source.linear(hidden, {router, m.experts, m.one_tensor(), true});
  if (m.choice_bias) w.choice_bias = source.vector(router + ".e_score_correction_bias", m.experts);
  w.experts = m.one_tensor() ? source.experts_of_one_tensor(experts, m.experts, hidden, m.ffn, m.names)
                             : source.experts(experts, m.experts, hidden, m.ffn, m.names);
  if (m.shared_ffn == 0) return;
  const std::string shared = block + m.names.shared;
  const WeightSource::Projection gate_up[] = {{.name = shared + "gate_proj", .out = m.shared_ffn},
                                              {.name = shared + "up_proj", .out = m.shared_ffn}};
  w.shared_gate_up = source.linear(hidden, gate_up, Split::outputs);
  w.shared_down = source.linear(m.shared_ffn, {shared + "down_proj", hidden}, Split::inputs);
}

KvSpec DecoderModel::kv_spec(std::int32_t block_size, std::optional<DType> kv_dtype) const {
  const ModelConfig& c = config_;
  const DType dtype = kv_dtype.value_or(c.weights == DType::f32 ? DType::f32 : DType::bf16);
  return place_layers({dtype, 0, c.kv_heads, c.head_dim, block_size}, c.layers, c.windowed_layers, c.window);
}

Tensor DecoderModel::forward(const Batch& batch, const KvView& kv, Ops& ops) {
  const auto run = [&](const Batch& rows) {
    ops.begin_step(rows, kv);
    return run_layers(rows, ops);
  };
  hidden_ = {};
  return batch.wants_hidden ? run(batch) : ops.run_step(batch, kv, run);  // a recording has one result
}

// `added`, or its norm where there is one.
Tensor DecoderModel::normed_by(const Linear& norm, const Tensor& added, Ops& ops) const {
  return norm ? ops.rms_norm(added, norm, config_.norm_epsilon) : added;
}

ExpertChoice DecoderModel::expert_choice(const Layer& w) const {
  const MixtureConfig& m = config_.mixture;
  return {.per_token = m.per_token,
          .renormalise = m.renormalise,
          .scores = m.scores,
          .factor = m.factor,
          .bias = w.choice_bias ? &w.choice_bias : nullptr,
          .groups = m.groups,
          .kept_groups = m.kept_groups};
}

Tensor DecoderModel::feed_forward(const Tensor& x, const Layer& w, Ops& ops) const {
  const auto ffn = [&](const Linear& gate_up, const Linear& down) {
    return ops.matmul(ops.gated_matmul(x, gate_up, config_.activation, &down), down);
  };
  if (!w.experts) return ffn(w.gate_up, w.down);
  const Tensor mixed = ops.mixture(x, w.router, w.experts, expert_choice(w), config_.activation);
  return w.shared_down ? ops.add(mixed, ffn(w.shared_gate_up, w.shared_down)) : mixed;
}

AttentionShape DecoderModel::attention_shape(const Layer& w) const {
  return {.query_heads = config_.query_heads / place_.width,
          .kv_heads = config_.kv_heads / place_.width,
          .head_dim = config_.head_dim,
          .scale = attention_factor(config_),
          .window = w.window,
          .sinks = w.sinks ? &w.sinks : nullptr};
}

Tensor DecoderModel::run_layers(const Batch& batch, Ops& ops) {
  const float epsilon = config_.stream_epsilon;
  const float factor = config_.residual_factor;
  Tensor x = ops.embed(embed_, batch.tokens);  // [tokens, hidden]: the residual stream
  Tensor room = ops.rms_norm(x, layers_.front().attention_norm, epsilon);  // [tokens, hidden]
  Tensor normed = room;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& w = layers_[i];
    const bool last = i + 1 == layers_.size();
    // After the last layer's keys and values, only the rows whose logits are wanted go on.
    const bool fewer = last && batch.logit_rows.size() < batch.tokens.size();
    if (fewer && !batch.logit_rows.empty()) x = ops.gather_rows(x, batch.logit_rows);
    const Ops::Scope scope(ops);
    const Tensor qkv = ops.matmul(normed, w.qkv);
    const HeadNorms norms{w.query_norm ? &w.query_norm : nullptr, w.key_norm ? &w.key_norm : nullptr,
                          config_.norm_epsilon};
    const AttentionShape shape = attention_shape(w);
    const Tensor q = ops.rope_store(w.place, qkv, shape, w.rope, norms);
    if (last && batch.logit_rows.empty()) return {};
    Tensor heads = ops.attention(w.place, q, shape);  // [tokens, query_heads * head_dim]
    if (fewer) heads = ops.gather_rows(heads, batch.logit_rows);
    const Tensor attended = normed_by(w.attended_norm, ops.all_reduce(ops.matmul(heads, w.output)), ops);
    room.rows = x.rows;
    normed =
        ops.add_rms_norm(x, attended, factor, w.ffn_norm, epsilon, room, w.experts ? nullptr : &w.gate_up);
    const Tensor fed = normed_by(w.fed_norm, ops.all_reduce(feed_forward(normed, w, ops)), ops);
    normed = last ? ops.add_rms_norm(x, fed, factor, norm_, epsilon, room, nullptr)
                  : ops.add_rms_norm(x, fed, factor, layers_[i + 1].attention_norm, epsilon, room,
                                     &layers_[i + 1].qkv);
  }
  if (batch.wants_hidden) hidden_ = normed;
  return ops.gather_columns(ops.logits(normed, lm_head_), config_.vocab);  // [logit_rows, vocab]
}

}  // namespace baton
