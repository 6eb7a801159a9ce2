#include "random_model.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace baton::gpu {
namespace {

class RandomOps final : public CudaOps {
 public:
  static std::unique_ptr<RandomOps> make(const OpsOptions& options) {
    const auto gpu = choose_gpu(options.device);
    if (!gpu) return nullptr;
    std::unique_ptr<RandomOps> ops(new RandomOps(options, *gpu));
    if (!ops->start()) return nullptr;
    return ops;
  }

  Result<Linear> pack(std::span<const WeightView> weights) override {
    auto body = std::make_shared<CudaMatrix>();
    body->in = weights[0].in;
    for (const WeightView& view : weights) body->out += view.out;
    const DType type = weights[0].dtype;
    auto memory = Buffer::allocate(device(), static_cast<std::size_t>(body->in * body->out) * size_of(type));
    if (!memory) return std::move(memory).error();
    body->weight = *std::move(memory);
    body->element = element_on_gpu(type);
    const float width = 1.7F / std::sqrt(static_cast<float>(body->in));  // keeps activations near one
    const cudaError_t filled =
        type == DType::e4m3
            ? fill_random_e4m3(body->weight.data(), body->in * body->out, ++seed_, stream())
            : fill_random(body->weight.data(), body->in * body->out, width, ++seed_, stream());
    if (filled != cudaSuccess) return make_error(ErrorCode::internal, "cannot fill a weight");
    if (type == DType::e4m3) {
      const std::vector<float> scales(static_cast<std::size_t>(body->out), width);
      auto room = Buffer::allocate(device(), scales.size() * sizeof(float));
      if (!room) return std::move(room).error();
      body->scales = *std::move(room);
      if (cudaMemcpy(body->scales.data(), scales.data(), scales.size() * sizeof(float),
                     cudaMemcpyHostToDevice) != cudaSuccess)
        return make_error(ErrorCode::internal, "cannot copy scales");
    }
    // Products read weights before they wait for earlier kernels: a weight must be there by then.
    if (cudaStreamSynchronize(stream()) != cudaSuccess)
      return make_error(ErrorCode::internal, "cannot fill a weight");
    return Linear(std::shared_ptr<const CudaMatrix>(std::move(body)));
  }
  Result<Linear> pack_vector(const WeightView& weight) override {
    const std::vector<float> ones(static_cast<std::size_t>(weight.in), 1.0F);
    return CudaOps::pack_vector(
        {.data = ones.data(), .dtype = DType::f32, .out = 1, .in = weight.in, .bias = nullptr});
  }

 private:
  RandomOps(const OpsOptions& options, const GpuInfo& gpu) : CudaOps(options, gpu) {}
  std::uint32_t seed_ = 0;
};

// model.safetensors with a header and no data behind it but holes.
void write_checkpoint(const ModelSize& m, const std::filesystem::path& directory) {
  nlohmann::json header;
  std::uint64_t offset = 0;
  const auto put = [&](const std::string& name, std::vector<std::int64_t> shape, const char* type,
                       std::uint64_t bytes) {
    for (const std::int64_t size : shape) bytes *= static_cast<std::uint64_t>(size);
    header[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  };
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    const bool code = m.fp8 && name.find("_proj.") != std::string::npos;
    put(name, shape, code ? "F8_E4M3" : "BF16", code ? 1 : 2);
    if (code) put(name + "_scale", {1}, "F32", 4);
  };
  const std::int64_t q = std::int64_t{m.query_heads} * m.head_dim, kv = std::int64_t{m.kv_heads} * m.head_dim;
  add("model.embed_tokens.weight", {m.vocab, m.hidden});
  add("lm_head.weight", {m.vocab, m.hidden});
  add("model.norm.weight", {m.hidden});
  for (std::int32_t i = 0; i < m.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {m.hidden});
    add(layer + "post_attention_layernorm.weight", {m.hidden});
    add(layer + "self_attn.q_proj.weight", {q, m.hidden});
    add(layer + "self_attn.k_proj.weight", {kv, m.hidden});
    add(layer + "self_attn.v_proj.weight", {kv, m.hidden});
    add(layer + "self_attn.o_proj.weight", {m.hidden, q});
    add(layer + "mlp.gate_proj.weight", {m.ffn, m.hidden});
    add(layer + "mlp.up_proj.weight", {m.ffn, m.hidden});
    add(layer + "mlp.down_proj.weight", {m.hidden, m.ffn});
  }
  const std::string text = header.dump();
  std::ofstream file(directory / "model.safetensors", std::ios::binary);
  const std::uint64_t size = text.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file << text;
  file.close();
  std::filesystem::resize_file(directory / "model.safetensors", 8 + size + offset);
  nlohmann::json config{{"architectures", {"LlamaForCausalLM"}},
                        {"model_type", "llama"},
                        {"hidden_size", m.hidden},
                        {"intermediate_size", m.ffn},
                        {"num_hidden_layers", m.layers},
                        {"num_attention_heads", m.query_heads},
                        {"num_key_value_heads", m.kv_heads},
                        {"head_dim", m.head_dim},
                        {"vocab_size", m.vocab},
                        {"max_position_embeddings", 16384},
                        {"rms_norm_eps", 1e-5},
                        {"rope_theta", 500000.0},
                        {"hidden_act", "silu"},
                        {"tie_word_embeddings", false},
                        {"bos_token_id", 1},
                        {"eos_token_id", 2},
                        {"torch_dtype", "bfloat16"}};
  if (m.fp8) config["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
  std::ofstream(directory / "config.json") << config.dump(2);
}

}  // namespace

double ModelSize::weight_bytes() const {
  const double q = static_cast<double>(query_heads) * head_dim, kv = static_cast<double>(kv_heads) * head_dim;
  const double layer = hidden * (q + 2 * kv) + q * hidden + 3.0 * hidden * ffn;
  return (fp8 ? 1 : 2) * layers * layer + 2.0 * vocab * hidden;
}

double ModelSize::kv_bytes_per_token(DType kv) const {
  return 2.0 * layers * kv_heads * head_dim * static_cast<double>(size_of(kv));
}

double ModelSize::prefill_flops(double tokens) const {
  const double q = static_cast<double>(query_heads) * head_dim, kv = static_cast<double>(kv_heads) * head_dim;
  const double layer = hidden * (q + 2 * kv) + q * hidden + 3.0 * hidden * ffn;
  return 2 * tokens * layers * layer + 4 * layers * q * tokens * (tokens + 1) / 2 + 2.0 * vocab * hidden;
}

ModelSize nemotron_4b() { return {"Nemotron-Nano-4B", 3072, 32, 32, 8, 128, 9216, 128256}; }
ModelSize llama_8b() { return {"Llama-3.1-8B", 4096, 32, 32, 8, 128, 14336, 128256}; }

ModelSize in_fp8(ModelSize size) {
  size.name += " in FP8";
  size.fp8 = true;
  return size;
}

std::unique_ptr<CudaOps> make_random_ops(const OpsOptions& options) { return RandomOps::make(options); }

std::unique_ptr<Model> make_random_model(const ModelSize& size, CudaOps& ops) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("baton-random-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  write_checkpoint(size, directory);
  auto model = load_model(directory, ops);
  std::filesystem::remove_all(directory);
  if (model) return *std::move(model);
  std::fprintf(stderr, "%s\n", model.error().message.c_str());
  return nullptr;
}

}  // namespace baton::gpu
