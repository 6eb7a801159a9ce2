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
    if (gemma())
      for (Values& row : x)
        for (double& value : row) value *= std::sqrt(c_.hidden);
    for (int i = 0; i < c_.layers; ++i) run_layer(i, x);
    const Values last = norm(x.back(), "model.norm.weight");
    Values all = project(last, c_.tied_embeddings ? "model.embed_tokens" : "lm_head", c_.vocab, false);
    for (double& logit : all) logit *= c_.logits_factor;
    return all;
  }

 private:
  bool gemma() const { return c_.architecture == "Gemma3ForCausalLM"; }

  void run_layer(int index, std::vector<Values>& x) const {
    const std::string layer = "model.layers." + std::to_string(index) + ".";
    const bool windowed = std::ranges::count(c_.windowed_layers, index) > 0;
    const double factor = gemma() ? 1 : c_.residual_factor;
    const int q_size = c_.query_heads * c_.head_dim;
    const int kv_size = c_.kv_heads * c_.head_dim;
    std::vector<Values> k;
    std::vector<Values> v;
    for (std::size_t p = 0; p < x.size(); ++p) {
      const Values h = norm(x[p], layer + "input_layernorm.weight");
      const std::string attention = layer + "self_attn.";
      const Values q = rotate(
          head_norm(project(h, attention + "q_proj", q_size, c_.attention_bias), attention + "q_norm.weight"),
          p, index);
      k.push_back(rotate(head_norm(project(h, attention + "k_proj", kv_size, c_.attention_bias),
                                   attention + "k_norm.weight"),
                         p, index));
      v.push_back(project(h, attention + "v_proj", kv_size, c_.attention_bias));
      const std::size_t first =
          windowed && p + 1 > static_cast<std::size_t>(c_.window) ? p + 1 - c_.window : 0;
      Values mixed = project(attend(q, k, v, first, attention + "sinks"), attention + "o_proj", c_.hidden,
                             c_.attention_output_bias);
      if (gemma()) mixed = norm(mixed, layer + "post_attention_layernorm.weight");
      for (int i = 0; i < c_.hidden; ++i) x[p][i] += factor * mixed[i];
      const Values f = norm(
          x[p], layer + (gemma() ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight"));
      Values fed = feed_forward(layer, f);
      if (gemma()) fed = norm(fed, layer + "post_feedforward_layernorm.weight");
      for (int i = 0; i < c_.hidden; ++i) x[p][i] += factor * fed[i];
    }
  }

  Values feed_forward(const std::string& layer, const Values& x) const {
    const bool gpt_oss = weights_.contains(layer + "mlp.router.weight");
    const bool mixtral = weights_.contains(layer + "block_sparse_moe.gate.weight");
    if (!mixtral && !gpt_oss && !weights_.contains(layer + "mlp.gate.weight"))
      return gated(x, layer + "mlp.gate_proj", layer + "mlp.up_proj", layer + "mlp.down_proj", c_.ffn,
                   c_.mlp_bias);
    const std::string block = layer + (mixtral ? "block_sparse_moe." : "mlp.");
    const int experts = c_.mixture.experts;
    const Values logits = project(x, block + (gpt_oss ? "router" : "gate"), experts, gpt_oss);
    const bool glm = weights_.contains(block + "gate.e_score_correction_bias");
    double all = 0;
    for (const double logit : logits) all += std::exp(logit);
    std::vector<std::pair<double, int>> order;  // by -merit: the largest first, ties to the lower id
    Values shares;
    for (int e = 0; e < experts; ++e) {
      shares.push_back(glm ? 1 / (1 + std::exp(-logits[e])) : std::exp(logits[e]) / all);
      const double bias = glm ? weights_.at(block + "gate.e_score_correction_bias")[e] : 0;
      order.emplace_back(-(shares.back() + bias), e);
    }
    if (glm && c_.mixture.groups > 1) order = of_the_best_groups(order);
    std::sort(order.begin(), order.end());
    order.resize(static_cast<std::size_t>(c_.mixture.per_token));
    double kept = 0;
    for (const auto& [merit, e] : order) kept += shares[e];
    Values sum(x.size(), 0.0);
    for (const auto& [merit, e] : order) {
      const std::string expert = block + "experts." + std::to_string(e) + ".";
      const Values y = mixtral || gpt_oss
                           ? gated(x, expert + "w1", expert + "w3", expert + "w2", c_.mixture.ffn, gpt_oss)
                           : gated(x, expert + "gate_proj", expert + "up_proj", expert + "down_proj",
                                   c_.mixture.ffn, false);
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += c_.mixture.factor * shares[e] / (c_.mixture.renormalise ? kept : 1) * y[i];
    }
    if (!glm) return sum;
    const std::string shared = block + "shared_experts.";
    const Values beside = gated(x, shared + "gate_proj", shared + "up_proj", shared + "down_proj",
                                c_.mixture.shared_ffn, false);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += beside[i];
    return sum;
  }

  // Of experts by -merit, in order of id, those of the groups whose two best have the largest sums.
  std::vector<std::pair<double, int>> of_the_best_groups(
      const std::vector<std::pair<double, int>>& all) const {
    const std::size_t each = all.size() / static_cast<std::size_t>(c_.mixture.groups);
    std::vector<std::pair<double, std::size_t>> groups;
    for (std::size_t first = 0; first < all.size(); first += each) {
      std::vector<std::pair<double, int>> group(all.begin() + first, all.begin() + first + each);
      std::sort(group.begin(), group.end());
      groups.emplace_back(group[0].first + (each > 1 ? group[1].first : 0), first);
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, int>> kept;
    for (int g = 0; g < c_.mixture.kept_groups; ++g)
      kept.insert(kept.end(), all.begin() + groups[g].second, all.begin() + groups[g].second + each);
    return kept;
  }

  Values gated(const Values& x, const std::string& gate_name, const std::string& up_name,
               const std::string& down_name, int ffn, bool bias) const {
    Values gate = project(x, gate_name, ffn, bias);
    const Values up = project(x, up_name, ffn, bias);
    for (int i = 0; i < ffn; ++i) gate[i] = activated(gate[i], up[i]);
    return project(gate, down_name, c_.hidden, bias);
  }

  double activated(double gate, double up) const {
    if (gemma())
      return gate * (1 + std::tanh(0.7978845608028654 * (gate + 0.044715 * gate * gate * gate))) / 2 * up;
    if (!c_.sinks) return gate / (1 + std::exp(-gate)) * up;
    gate = std::min(gate, 7.0);
    return gate / (1 + std::exp(-1.702 * gate)) * (std::clamp(up, -7.0, 7.0) + 1);
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
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) +
                                       (gemma() ? c_.norm_epsilon : c_.stream_epsilon));
    Values y(x);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] *= scale * (weights_.at(name)[i] + (gemma() ? 1 : 0));
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
  Values rotate(Values x, std::size_t position, int layer) const {
    const bool local = gemma() && std::ranges::count(c_.windowed_layers, layer) > 0;
    const RopeTable& rope = local ? c_.window_rope : c_.rope;
    const int half = std::ranges::count(c_.unrotated_layers, layer) ? 0 : c_.rotary_dim / 2;
    for (std::size_t head = 0; head < x.size(); head += static_cast<std::size_t>(c_.head_dim))
      for (int i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) * rope.inv_frequency[i];
        const double cosine = std::cos(angle) * rope.scale;
        const double sine = std::sin(angle) * rope.scale;
        const double a = x[head + i];
        const double b = x[head + i + half];
        x[head + i] = a * cosine - b * sine;
        x[head + i + half] = b * cosine + a * sine;
      }
    return x;
  }

  // Over the positions from `first` on.
  Values attend(const Values& q, const std::vector<Values>& k, const std::vector<Values>& v,
                std::size_t first, const std::string& sinks) const {
    const int dim = c_.head_dim;
    Values out(q.size(), 0.0);
    for (int head = 0; head < c_.query_heads; ++head) {
      const int kv = head / (c_.query_heads / c_.kv_heads);
      Values weight(first, 0.0);
      double sum = c_.sinks ? std::exp(static_cast<double>(weights_.at(sinks)[head])) : 0;
      for (std::size_t p = first; p < k.size(); ++p) {
        double dot = 0;
        for (int i = 0; i < dim; ++i) dot += q[head * dim + i] * k[p][kv * dim + i];
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
