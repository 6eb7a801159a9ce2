// Synthetic checkpoints: a Hugging Face directory of any Llama or Mixtral shape with random weights and a
// tokenizer, for benchmarks and load tests. `baton synth` on the command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"

namespace baton {

struct SynthOptions {
  std::filesystem::path directory;
  std::int32_t hidden = 768;
  std::int32_t layers = 12;
  std::int32_t query_heads = 12;
  std::int32_t kv_heads = 4;
  std::int32_t head_dim = 64;
  std::int32_t ffn = 3072;   // of each expert, where there are any
  std::int32_t experts = 0;  // of every layer; 0: none, a Llama; else a Mixtral
  std::int32_t experts_per_token = 2;
  std::int32_t vocab = 32000;  // at least 259: the 256 bytes and three special tokens
  std::int32_t max_positions = 4096;
  DType dtype = DType::bf16;
  bool tied = false;
  std::uint64_t seed = 0;
  std::uint64_t shard_bytes = std::uint64_t{4} << 30;  // a file holds at most this much, or one tensor
};

using SynthProgress = std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>;

// The shape of this name: "150M" (153 million parameters) or "1.1B" (1,100 million; TinyLlama's shape).
std::optional<SynthOptions> synth_shape(std::string_view name);
std::uint64_t synth_parameters(const SynthOptions& options);

// Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json and the weights. Streams:
// needs a few MiB of memory at any size. Equal options give equal bytes on every machine. The directory is
// made where it is absent; one that already holds a config.json is refused. Errors name the option.
Result<void> write_synthetic_model(const SynthOptions& options, const SynthProgress& progress = {});

}  // namespace baton
