// Writes a synthetic checkpoint. The safetensors header needs only shapes, so it is written first and the
// weights follow in pieces of 1 MiB, each from its own place in a counter-based random stream.
#include "baton/model/synth.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "baton/tensor/ops.hpp"
#include "model/safetensors.hpp"
#include "model/synth_tokenizer.hpp"

namespace baton {
namespace {

struct SynthTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  double deviation = 0;  // of a normal distribution; 0: all ones (a norm's weight)

  std::uint64_t elements() const {
    std::uint64_t n = 1;
    for (const std::int64_t dimension : shape) n *= static_cast<std::uint64_t>(dimension);
    return n;
  }
};

using Shard = std::vector<SynthTensor>;

// Hugging Face's names in the order of the forward pass. Deviations of 1 / sqrt(fan_in) keep every
// activation, and so the logits, near 1 at any depth.
std::vector<SynthTensor> all_tensors(const SynthOptions& o) {
  const std::int64_t q = std::int64_t{o.query_heads} * o.head_dim;
  const std::int64_t kv = std::int64_t{o.kv_heads} * o.head_dim;
  std::vector<SynthTensor> tensors;
  const auto matrix = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    tensors.push_back({name + ".weight", {out, in}, 1 / std::sqrt(static_cast<double>(in))});
  };
  const auto norm = [&](const std::string& name) { tensors.push_back({name + ".weight", {o.hidden}, 0}); };
  matrix("model.embed_tokens", o.vocab, o.hidden);
  for (std::int32_t i = 0; i < o.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    norm(layer + "input_layernorm");
    matrix(layer + "self_attn.q_proj", q, o.hidden);
    matrix(layer + "self_attn.k_proj", kv, o.hidden);
    matrix(layer + "self_attn.v_proj", kv, o.hidden);
    matrix(layer + "self_attn.o_proj", o.hidden, q);
    norm(layer + "post_attention_layernorm");
    if (o.experts == 0) {
      matrix(layer + "mlp.gate_proj", o.ffn, o.hidden);
      matrix(layer + "mlp.up_proj", o.ffn, o.hidden);
      matrix(layer + "mlp.down_proj", o.hidden, o.ffn);
      continue;
    }
    const std::string mixture = layer + "block_sparse_moe.";
    matrix(mixture + "gate", o.experts, o.hidden);
    for (std::int32_t e = 0; e < o.experts; ++e) {
      const std::string expert = mixture + "experts." + std::to_string(e) + ".";
      matrix(expert + "w1", o.ffn, o.hidden);
      matrix(expert + "w2", o.hidden, o.ffn);
      matrix(expert + "w3", o.ffn, o.hidden);
    }
  }
  norm("model.norm");
  if (!o.tied) matrix("lm_head", o.vocab, o.hidden);
  return tensors;
}

std::vector<Shard> split(std::vector<SynthTensor> tensors, std::uint64_t limit, std::size_t element) {
  std::vector<Shard> shards(1);
  std::uint64_t used = 0;
  for (SynthTensor& tensor : tensors) {
    const std::uint64_t bytes = tensor.elements() * element;
    if (!shards.back().empty() && used + bytes > limit) {
      shards.emplace_back();
      used = 0;
    }
    used += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

std::uint64_t mix(std::uint64_t x) {  // SplitMix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Nearly normal with deviation 1: the sum of four 16-bit uniforms of one hash. Integers until the last step,
// so equal on every machine, and far cheaper than a logarithm for each of a billion weights.
float near_normal(std::uint64_t stream, std::uint64_t index) {
  const std::uint64_t bits = mix(stream + 0x9e3779b97f4a7c15ULL * (index + 1));
  const auto sum = static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) +
                                             (bits >> 48));
  return static_cast<float>(sum - 131070) * 2.64290e-5F;  // sqrt(3) / 65536
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even
}

// |value| < 65504; to nearest, ties to even.
std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::abs(value);
  if (magnitude < 0x1p-14F) {  // subnormal: a multiple of 2^-24; adding 1/2 rounds to one
    const float rounded = magnitude + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) & 0x7ff));
  }
  const std::uint32_t m = std::bit_cast<std::uint32_t>(magnitude);
  return static_cast<std::uint16_t>(sign | ((m + 0xfff + (m >> 13 & 1) - (112U << 23)) >> 13));
}

// A file that says once, at the end, whether everything was written; removed where it was not.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path)
      : path_(std::move(path)), file_(std::fopen(path_.c_str(), "wb")) {}
  ~OutputFile() {
    if (file_) std::fclose(file_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  bool write(const void* data, std::size_t bytes) {
    if (file_ && !failed_) failed_ = std::fwrite(data, 1, bytes, file_) != bytes;
    return file_ && !failed_;
  }

  Result<void> close() {
    const bool opened = file_ != nullptr;
    const bool good = opened && std::fclose(file_) == 0 && !failed_;
    file_ = nullptr;
    if (good) return {};
    std::error_code ignored;
    if (opened) std::filesystem::remove(path_, ignored);
    return make_error(ErrorCode::io,
                      "cannot write " + path_.string() + ": no permission, or the disk is full");
  }

 private:
  std::filesystem::path path_;
  std::FILE* file_;
  bool failed_ = false;
};

class Writer {
 public:
  Writer(const SynthOptions& options, const SynthProgress& progress)
      : options_(options), progress_(progress), element_(size_of(options.dtype)) {}

  Result<void> write() {
    const std::vector<Shard> shards = split(all_tensors(options_), options_.shard_bytes, element_);
    total_ = synth_parameters(options_) * element_;
    nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < shards.size(); ++i) {
      char name[48] = "model.safetensors";
      if (shards.size() > 1)
        std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
      if (auto written = write_shard(name, shards[i]); !written) return written;
      for (const SynthTensor& tensor : shards[i]) weight_map[tensor.name] = name;
    }
    if (shards.size() == 1) return {};
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_}}}, {"weight_map", weight_map}};
    return write_text("model.safetensors.index.json", index.dump(2) + "\n");
  }

  Result<void> write_text(const char* name, const std::string& text) {
    OutputFile file(options_.directory / name);
    file.write(text.data(), text.size());
    return file.close();
  }

 private:
  Result<void> write_shard(const char* name, const Shard& tensors) {
    OutputFile file(options_.directory / name);
    const std::string header = make_header(tensors);
    std::uint8_t length[8];
    for (int i = 0; i < 8; ++i)
      length[i] = static_cast<std::uint8_t>(std::uint64_t{header.size()} >> (8 * i));
    file.write(length, sizeof length);
    file.write(header.data(), header.size());
    for (const SynthTensor& tensor : tensors)
      if (!write_tensor(file, tensor)) break;
    return file.close();
  }

  std::string make_header(const Shard& tensors) const {
    nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
    std::uint64_t offset = 0;
    for (const SynthTensor& tensor : tensors) {
      const std::uint64_t end = offset + tensor.elements() * element_;
      header[tensor.name] = {{"dtype", safetensors_dtype_name(options_.dtype)},
                             {"shape", tensor.shape},
                             {"data_offsets", {offset, end}}};
      offset = end;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // data aligned to 8 bytes, as the format recommends
    return text;
  }

  bool write_tensor(OutputFile& file, const SynthTensor& tensor) {
    constexpr std::uint64_t kPiece = 1U << 18;  // elements
    const std::uint64_t elements = tensor.elements();
    const std::uint64_t stream = mix(mix(options_.seed + 0x9e3779b97f4a7c15ULL) + ++streams_);
    const auto scale = static_cast<float>(tensor.deviation);
    for (std::uint64_t begin = 0; begin < elements; begin += kPiece) {
      const std::uint64_t count = std::min(kPiece, elements - begin);
      values_.resize(count);
      for (std::uint64_t i = 0; i < count; ++i)
        values_[i] = scale == 0 ? 1.0F : scale * near_normal(stream, begin + i);
      if (!write_values(file)) return false;
      done_ += count * element_;
      if (progress_) progress_(done_, total_);
    }
    return true;
  }

  bool write_values(OutputFile& file) {
    if (options_.dtype == DType::f32) return file.write(values_.data(), values_.size() * 4);
    halves_.resize(values_.size());
    const bool bf16 = options_.dtype == DType::bf16;
    for (std::size_t i = 0; i < values_.size(); ++i)
      halves_[i] = bf16 ? to_bf16(values_[i]) : to_f16(values_[i]);
    return file.write(halves_.data(), halves_.size() * 2);
  }

  const SynthOptions& options_;
  const SynthProgress& progress_;
  std::uint64_t element_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t streams_ = 0;
  std::vector<float> values_;
  std::vector<std::uint16_t> halves_;
};

std::string config_json(const SynthOptions& o, const SynthTokenizer& tokenizer) {
  const char* dtype = o.dtype == DType::f32 ? "float32" : o.dtype == DType::f16 ? "float16" : "bfloat16";
  const bool mixture = o.experts > 0;
  nlohmann::ordered_json config = {{"architectures", {mixture ? "MixtralForCausalLM" : "LlamaForCausalLM"}},
                                   {"model_type", mixture ? "mixtral" : "llama"},
                                   {"hidden_size", o.hidden},
                                   {"intermediate_size", o.ffn},
                                   {"num_hidden_layers", o.layers},
                                   {"num_attention_heads", o.query_heads},
                                   {"num_key_value_heads", o.kv_heads},
                                   {"head_dim", o.head_dim},
                                   {"vocab_size", o.vocab},
                                   {"max_position_embeddings", o.max_positions},
                                   {"rms_norm_eps", 1e-5},
                                   {"rope_theta", 10000.0},
                                   {"hidden_act", "silu"},
                                   {"attention_bias", false},
                                   {"mlp_bias", false},
                                   {"tie_word_embeddings", o.tied},
                                   {"bos_token_id", tokenizer.bos},
                                   {"eos_token_id", tokenizer.eos},
                                   {"torch_dtype", dtype}};
  if (mixture) {
    config["num_local_experts"] = o.experts;
    config["num_experts_per_tok"] = o.experts_per_token;
  }
  return config.dump(2) + "\n";
}

Result<void> check(const SynthOptions& o) {
  struct Row {
    const char* field;
    std::int64_t value;
    std::int64_t minimum;
    std::int64_t maximum;
  };
  const std::int32_t most_per_token =
      o.experts > 0 ? std::min(o.experts, kMostExpertsPerToken) : kMostExpertsPerToken;
  // The upper bounds are those of config.json (config.cpp): what is written must load.
  for (const Row& row :
       {Row{"hidden", o.hidden, 1, 1 << 17}, Row{"layers", o.layers, 1, 1024},
        Row{"query_heads", o.query_heads, 1, 1024}, Row{"kv_heads", o.kv_heads, 1, 1024},
        Row{"head_dim", o.head_dim, 2, 1024}, Row{"ffn", o.ffn, 1, 1 << 20},
        Row{"vocab", o.vocab, kSynthMinVocab, kSynthMaxVocab},
        Row{"max_positions", o.max_positions, 1, 1 << 24}, Row{"experts", o.experts, 0, kMostExperts},
        Row{"experts_per_token", o.experts_per_token, 1, most_per_token}})
    if (row.value < row.minimum || row.value > row.maximum)
      return make_error(ErrorCode::invalid_argument,
                        std::string(row.field) + " is " + std::to_string(row.value) + ", must be from " +
                            std::to_string(row.minimum) + " to " + std::to_string(row.maximum),
                        row.field);
  if (o.head_dim % 2 != 0)
    return make_error(ErrorCode::invalid_argument, "head_dim must be even", "head_dim");
  if (o.query_heads % o.kv_heads != 0)
    return make_error(ErrorCode::invalid_argument, "kv_heads must divide query_heads", "kv_heads");
  if (o.dtype == DType::i32)
    return make_error(ErrorCode::invalid_argument, "dtype must be f32, f16 or bf16", "dtype");
  std::error_code error;
  if (std::filesystem::exists(o.directory / "config.json", error))
    return make_error(ErrorCode::invalid_argument, o.directory.string() + " already holds a model",
                      "directory");
  std::filesystem::create_directories(o.directory, error);
  if (error)
    return make_error(ErrorCode::io, "cannot make " + o.directory.string() + ": " + error.message(),
                      "directory");
  return {};
}

}  // namespace

std::optional<SynthOptions> synth_shape(std::string_view name) {
  SynthOptions options;  // the defaults are the 150M shape
  if (name == "150M") return options;
  if (name != "1.1B") return std::nullopt;
  options.hidden = 2048;
  options.layers = 22;
  options.query_heads = 32;
  options.kv_heads = 4;
  options.head_dim = 64;
  options.ffn = 5632;
  return options;
}

std::uint64_t synth_parameters(const SynthOptions& options) {
  std::uint64_t sum = 0;
  for (const SynthTensor& tensor : all_tensors(options)) sum += tensor.elements();
  return sum;
}

Result<void> write_synthetic_model(const SynthOptions& options, const SynthProgress& progress) {
  if (auto checked = check(options); !checked) return checked;
  const SynthTokenizer tokenizer = make_synth_tokenizer(options.vocab, options.max_positions);
  Writer writer(options, progress);
  if (auto written = writer.write(); !written) return written;
  const std::string eos = std::to_string(tokenizer.eos);
  const std::string bos = std::to_string(tokenizer.bos);
  const std::string generation =
      "{\n  \"bos_token_id\": " + bos + ",\n  \"eos_token_id\": [" + eos + ", " + bos + "]\n}\n";
  if (auto r = writer.write_text("tokenizer.json", tokenizer.tokenizer_json); !r) return r;
  if (auto r = writer.write_text("tokenizer_config.json", tokenizer.tokenizer_config_json); !r) return r;
  if (auto r = writer.write_text("generation_config.json", generation); !r) return r;
  return writer.write_text("config.json", config_json(options, tokenizer));  // last: now it is a model
}

}  // namespace baton
