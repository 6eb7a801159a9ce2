// A second, naive decoder: plain loops in double over f32 weights, no cache, no batching, rope straight from
// the formula, every family's own layers. What Baton's forward pass is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "baton/model/config.hpp"

namespace baton::test {

using Values = std::vector<double>;

class OracleDecoder {
 public:
  // `weights` by Hugging Face's names, row-major.
  OracleDecoder(ModelConfig config, std::map<std::string, std::vector<float>> weights)
      : c_(std::move(config)), weights_(std::move(weights)) {}

  // Logits of the last token.
  Values logits(const std::vector<std::int32_t>& tokens) const {
    std::vector<Values> x;
    const auto& embedding = weights_.at("model.embed_tokens.weight");
    for (const std::int32_t t : tokens)
      x.emplace_back(embedding.begin() + t * c_.hidden, embedding.begin() + (t + 1) * c_.hidden);
    for (int i = 0; i < c_.layers; ++i)
      run_layer("model.layers." + std::to_string(i) + ".", !std::ranges::count(c_.unrotated_layers, i), x);
    const Values last = norm(x.back(), "model.norm.weight");
    Values all = project(last, c_.tied_embeddings ? "model.embed_tokens" : "lm_head", c_.vocab, false);
    for (double& logit : all) logit *= c_.logits_factor;
    return all;
  }

 private:
  void run_layer(const std::string& layer, bool rotated, std::vector<Values>& x) const {
    const int q_size = c_.query_heads * c_.head_dim;
    const int kv_size = c_.kv_heads * c_.head_dim;
    std::vector<Values> k;
    std::vector<Values> v;
    for (std::size_t p = 0; p < x.size(); ++p) {
      const Values h = norm(x[p], layer + "input_layernorm.weight");
      const std::string attention = layer + "self_attn.";
      const Values q = rotate(
          head_norm(project(h, attention + "q_proj", q_size, c_.attention_bias), attention + "q_norm.weight"),
          p, rotated);
      k.push_back(rotate(head_norm(project(h, attention + "k_proj", kv_size, c_.attention_bias),
                                   attention + "k_norm.weight"),
                         p, rotated));
      v.push_back(project(h, attention + "v_proj", kv_size, c_.attention_bias));
      const Values mixed =
          project(attend(q, k, v), attention + "o_proj", c_.hidden, c_.attention_output_bias);
      for (int i = 0; i < c_.hidden; ++i) x[p][i] += c_.residual_factor * mixed[i];
      const Values f = norm(x[p], layer + "post_attention_layernorm.weight");
      const Values fed = feed_forward(layer, f);
      for (int i = 0; i < c_.hidden; ++i) x[p][i] += c_.residual_factor * fed[i];
    }
  }

  Values feed_forward(const std::string& layer, const Values& x) const {
    const bool mixtral = weights_.contains(layer + "block_sparse_moe.gate.weight");
    if (!mixtral && !weights_.contains(layer + "mlp.gate.weight"))
      return gated(x, layer + "mlp.gate_proj", layer + "mlp.up_proj", layer + "mlp.down_proj", c_.ffn,
                   c_.mlp_bias);
    const std::string block = layer + (mixtral ? "block_sparse_moe." : "mlp.");
    const int experts = c_.mixture.experts;
    const Values logits = project(x, block + "gate", experts, false);
    double all = 0;
    std::vector<std::pair<double, int>> order;  // by -probability: the largest first, ties to the lower id
    for (const double logit : logits) all += std::exp(logit);
    for (int e = 0; e < experts; ++e) order.emplace_back(-std::exp(logits[e]) / all, e);
    std::sort(order.begin(), order.end());
    order.resize(static_cast<std::size_t>(c_.mixture.per_token));
    double kept = 0;
    for (const auto& [share, e] : order) kept -= share;
    Values sum(x.size(), 0.0);
    for (const auto& [share, e] : order) {
      const std::string expert = block + "experts." + std::to_string(e) + ".";
      const Values y = mixtral ? gated(x, expert + "w1", expert + "w3", expert + "w2", c_.mixture.ffn, false)
                               : gated(x, expert + "gate_proj", expert + "up_proj", expert + "down_proj",
                                       c_.mixture.ffn, false);
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] -= share / (c_.mixture.renormalise ? kept : 1) * y[i];
    }
    return sum;
  }

  Values gated(const Values& x, const std::string& gate_name, const std::string& up_name,
               const std::string& down_name, int ffn, bool bias) const {
    Values gate = project(x, gate_name, ffn, bias);
    const Values up = project(x, up_name, ffn, bias);
    for (int i = 0; i < ffn; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    return project(gate, down_name, c_.hidden, bias);
  }

  Values head_norm(Values x, const std::string& name) const {
    if (!weights_.contains(name)) return x;
    for (auto head = x.begin(); head != x.end(); head += c_.head_dim) {
      const Values normed = norm({head, head + c_.head_dim}, name);
      std::copy(normed.begin(), normed.end(), head);
    }
    return x;
  }

  Values norm(const Values& x, const std::string& name) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + c_.norm_epsilon);
    Values y(x);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] *= scale * weights_.at(name)[i];
    return y;
  }

  Values project(const Values& x, const std::string& name, int out, bool bias) const {
    const auto& w = weights_.at(name + ".weight");
    Values y(static_cast<std::size_t>(out));
    for (int o = 0; o < out; ++o) {
      y[o] = bias ? weights_.at(name + ".bias")[o] : 0;
      for (std::size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
    }
    return y;
  }

  // The first elements of each head, in pairs that lie half of these apart.
  Values rotate(Values x, std::size_t position, bool rotated) const {
    const int half = rotated ? c_.rotary_dim / 2 : 0;
    for (std::size_t head = 0; head < x.size(); head += static_cast<std::size_t>(c_.head_dim))
      for (int i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * c_.rope.inv_frequency[i];
        const double cosine = std::cos(angle) * c_.rope.scale;
        const double sine = std::sin(angle) * c_.rope.scale;
        const double a = x[head + i];
        const double b = x[head + i + half];
        x[head + i] = a * cosine - b * sine;
        x[head + i + half] = b * cosine + a * sine;
      }
    return x;
  }

  Values attend(const Values& q, const std::vector<Values>& k, const std::vector<Values>& v) const {
    const int dim = c_.head_dim;
    Values out(q.size(), 0.0);
    for (int head = 0; head < c_.query_heads; ++head) {
      const int kv = head / (c_.query_heads / c_.kv_heads);
      Values weight;
      double sum = 0;
      for (const Values& key : k) {
        double dot = 0;
        for (int i = 0; i < dim; ++i) dot += q[head * dim + i] * key[kv * dim + i];
        weight.push_back(
            std::exp(dot * (c_.attention_factor > 0 ? c_.attention_factor : 1 / std::sqrt(dim))));
        sum += weight.back();
      }
      for (std::size_t p = 0; p < v.size(); ++p)
        for (int i = 0; i < dim; ++i) out[head * dim + i] += weight[p] / sum * v[p][kv * dim + i];
    }
    return out;
  }

  ModelConfig c_;
  std::map<std::string, std::vector<float>> weights_;
};

}  // namespace baton::test
