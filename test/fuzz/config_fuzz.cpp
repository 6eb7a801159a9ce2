// Fuzzes config.json and generation_config.json (the input is one, a NUL, the other), and adapter_config.json
// (the input): whatever the bytes, parsing ends, and an accepted configuration keeps the promises of
// src/model/config.cpp.
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "baton/model/config.hpp"
#include "model/adapter.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto adapter = baton::parse_adapter_config(text); adapter && !std::isfinite(adapter->alpha))
    std::abort();
  const std::size_t nul = text.find('\0');
  const std::string_view generation = nul == text.npos ? std::string_view() : text.substr(nul + 1);
  const auto config = baton::parse_model_config(text.substr(0, nul), generation);
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  const bool positive = config->hidden > 0 && config->layers > 0 && config->query_heads > 0 &&
                        config->kv_heads > 0 && config->ffn > 0 && config->vocab > 0 &&
                        config->max_positions > 0;
  if (!positive || config->query_heads % config->kv_heads != 0 || config->head_dim % 2 != 0) std::abort();
  const auto& mixture = config->mixture;
  if (mixture.experts > 0 &&
      (mixture.per_token < 1 || mixture.per_token > mixture.experts || mixture.ffn < 1 || mixture.every < 1))
    std::abort();
  for (const std::int32_t layer : mixture.dense_layers)
    if (layer < 0 || layer >= config->layers || config->has_experts(layer)) std::abort();
  if (mixture.experts > 0 && (mixture.groups < 1 || mixture.experts % mixture.groups != 0 ||
                              mixture.kept_groups < 1 || mixture.kept_groups > mixture.groups))
    std::abort();
  if ((config->window > 0) == config->windowed_layers.empty()) std::abort();
  for (std::size_t i = 0; i < config->windowed_layers.size(); ++i) {
    const std::int32_t layer = config->windowed_layers[i];
    if (layer < 0 || layer >= config->layers || (i > 0 && layer <= config->windowed_layers[i - 1]))
      std::abort();
  }
  for (const float frequency : config->window_rope.inv_frequency)
    if (!std::isfinite(frequency)) std::abort();
  if (!std::isfinite(config->stream_epsilon) || !std::isfinite(config->residual_factor) ||
      !std::isfinite(config->attention_factor))
    std::abort();
  if (config->rope.inv_frequency.size() != static_cast<std::size_t>(config->head_dim) / 2) std::abort();
  for (const float frequency : config->rope.inv_frequency)
    if (!std::isfinite(frequency)) std::abort();
  if (!std::isfinite(config->rope.scale)) std::abort();
  for (const std::int32_t id : config->generation.eos_token_ids)
    if (id < 0 || id >= config->vocab) std::abort();
  return 0;
}
