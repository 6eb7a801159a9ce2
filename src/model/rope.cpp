#include "model/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace baton {
namespace {

// float32 power as a correctly rounded library would give it: in double, rounded once.
float power(double base, float exponent) { return static_cast<float>(std::pow(base, double{exponent})); }

float exponent_of(std::int32_t pair, std::int32_t head_dim) {
  return static_cast<float>(2 * pair) / static_cast<float>(head_dim);
}

std::vector<float> plain_frequencies(double theta, std::int32_t head_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::int32_t i = 0; i < head_dim / 2; ++i)
    frequencies[i] = 1.0F / power(theta, exponent_of(i, head_dim));
  return frequencies;
}

// Llama 3.1: long waves divided by `factor`, short ones kept, a linear blend between.
void scale_llama3(std::vector<float>& frequencies, const RopeScaling& s) {
  const double length = s.original_max_positions;
  const auto low_wave = static_cast<float>(length / s.low_freq_factor);
  const auto high_wave = static_cast<float>(length / s.high_freq_factor);
  const auto factor = static_cast<float>(s.factor);
  for (float& f : frequencies) {
    const float wave = static_cast<float>(2 * std::numbers::pi) / f;
    if (wave < high_wave) continue;
    if (wave > low_wave) {
      f = f / factor;
      continue;
    }
    const float smooth = (static_cast<float>(length) / wave - static_cast<float>(s.low_freq_factor)) /
                         static_cast<float>(s.high_freq_factor - s.low_freq_factor);
    f = (1 - smooth) * f / factor + smooth * f;
  }
}

// YaRN (arXiv 2309.00071): the pair whose angle makes `rotations` turns over the original length.
double correction_dim(double rotations, std::int32_t head_dim, const RopeScaling& s) {
  return head_dim * std::log(s.original_max_positions / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(s.theta));
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

float yarn_attention_factor(const RopeScaling& s) {
  if (s.attention_factor) return static_cast<float>(*s.attention_factor);
  if (s.mscale != 0 && s.mscale_all_dim != 0)
    return static_cast<float>(yarn_mscale(s.factor, s.mscale) / yarn_mscale(s.factor, s.mscale_all_dim));
  return static_cast<float>(yarn_mscale(s.factor, 1.0));
}

// Pairs below `low` are kept, pairs above `high` divided by `factor`, a linear ramp between.
std::vector<float> yarn_frequencies(const RopeScaling& s, std::int32_t head_dim) {
  double low = correction_dim(s.beta_fast, head_dim, s);
  double high = correction_dim(s.beta_slow, head_dim, s);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1.0);
  if (low == high) high += 0.001;
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::int32_t i = 0; i < head_dim / 2; ++i) {
    const float base = power(s.theta, exponent_of(i, head_dim));
    const float extrapolated = 1.0F / base;
    const float interpolated = 1.0F / (static_cast<float>(s.factor) * base);
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0F, 1.0F);
    const float keep = 1 - ramp;
    frequencies[i] = interpolated * (1 - keep) + extrapolated * keep;
  }
  return frequencies;
}

// LongRoPE (arXiv 2402.13753): every pair's frequency divided by a number of its own.
std::vector<float> longrope_frequencies(const RopeScaling& s, std::int32_t head_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::int32_t i = 0; i < head_dim / 2; ++i)
    frequencies[i] =
        1.0F / (s.divisors[static_cast<std::size_t>(i)] * power(s.theta, exponent_of(i, head_dim)));
  return frequencies;
}

float longrope_attention_factor(const RopeScaling& s) {
  if (s.attention_factor) return static_cast<float>(*s.attention_factor);
  if (s.factor <= 1) return 1.0F;
  return static_cast<float>(std::sqrt(1 + std::log(s.factor) / std::log(s.original_max_positions)));
}

}  // namespace

double scaled_context_length(const RopeScaling& scaling, std::int32_t max_position_embeddings) {
  switch (scaling.type) {
    case RopeType::linear:
      if (scaling.length_is_scaled) break;
      [[fallthrough]];
    case RopeType::dynamic:
      return std::floor(max_position_embeddings * scaling.factor);
    case RopeType::yarn:
      return std::floor(scaling.original_max_positions * scaling.factor);
    case RopeType::none:
    case RopeType::llama3:
    case RopeType::longrope:
      break;
  }
  return max_position_embeddings;
}

RopeTable make_rope_table(const RopeScaling& scaling, std::int32_t head_dim,
                          std::int32_t max_position_embeddings, std::int32_t whole_head) {
  RopeTable table;
  table.max_positions = static_cast<std::int32_t>(scaled_context_length(scaling, max_position_embeddings));
  switch (scaling.type) {
    case RopeType::none:
      table.inv_frequency = plain_frequencies(scaling.theta, head_dim);
      break;
    case RopeType::linear:
      table.inv_frequency = plain_frequencies(scaling.theta, head_dim);
      for (float& f : table.inv_frequency) f /= static_cast<float>(scaling.factor);
      break;
    case RopeType::dynamic: {
      // transformers takes the length of the sequence so far; we take the longest one there can be.
      const double length = max_position_embeddings * scaling.factor;
      const double stretch = scaling.factor * length / max_position_embeddings - (scaling.factor - 1);
      const double theta = scaling.theta * std::pow(stretch, head_dim / (head_dim - 2.0));
      table.inv_frequency = plain_frequencies(theta, head_dim);
      break;
    }
    case RopeType::yarn:
      table.inv_frequency = yarn_frequencies(scaling, head_dim);
      table.scale = yarn_attention_factor(scaling);
      break;
    case RopeType::llama3:
      table.inv_frequency = plain_frequencies(scaling.theta, head_dim);
      scale_llama3(table.inv_frequency, scaling);
      break;
    case RopeType::longrope:
      table.inv_frequency = longrope_frequencies(scaling, head_dim);
      table.scale = longrope_attention_factor(scaling);
      break;
  }
  if (whole_head > head_dim) table.inv_frequency.resize(static_cast<std::size_t>(whole_head / 2), 0.0F);
  return table;
}

std::vector<std::int32_t> rotary_order(std::int32_t head_dim, std::int32_t rotary) {
  std::vector<std::int32_t> order;
  const std::int32_t half = head_dim / 2, rotary_half = rotary / 2, rest = half - rotary_half;
  const auto append = [&](std::int32_t first, std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) order.push_back(first + i);
  };
  append(0, rotary_half);
  append(rotary, rest);
  append(rotary_half, rotary_half);
  append(rotary + rest, rest);
  return order;
}

}  // namespace baton
