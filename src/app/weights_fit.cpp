#include "app/weights_fit.hpp"

#include "app/system.hpp"
#include "baton/base/units.hpp"
#include "baton/model/config.hpp"
#include "baton/model/shape.hpp"

namespace baton {

Result<void> weights_fit(const std::filesystem::path& directory, OpsGroup& group, Quantization quantization) {
  std::uint64_t bytes = 0;
  std::error_code ignored;  // what cannot be read is load_model's to explain
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename();  // other names hold copies of the same weights
    if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
    if (const auto size = entry.file_size(ignored); !ignored) bytes += size;
  }
  if (const auto config = load_model_config(directory); config) {
    const std::uint64_t element = size_of(config->weights);
    const std::uint64_t embeddings = element * static_cast<std::uint64_t>(config->vocab) *
                                     static_cast<std::uint64_t>(config->hidden) *
                                     (config->tied_embeddings ? 1 : 2);
    const bool to_fp8 = quantization == Quantization::fp8;
    const bool expanded = config->packed.kind != PackedWeights::Kind::none;
    const bool maybe_mxfp4 = config->mixture.experts > 0 && config->mixture.one_tensor();
    if (expanded || maybe_mxfp4) {
      const ModelShape shape = shape_of(*config);
      const double weights = shape.dense_parameters() + shape.routed_parameters();
      bytes = embeddings + static_cast<std::uint64_t>(weights) * (to_fp8 ? 1 : element);
    } else {
      const std::uint64_t projections = bytes - std::min(bytes, embeddings);
      if (to_fp8 && config->fp8 == Fp8::none) bytes -= projections - projections / element;
      if (!to_fp8 && config->fp8_blocks.out > 0) bytes += projections * (element - 1);
    }
    // Each rank has the embeddings whole; where they are the output, too, its share of that besides.
    const auto width = static_cast<std::uint64_t>(group.width());
    const std::uint64_t table = embeddings / (config->tied_embeddings ? 1 : 2);
    if (width > 1) bytes += (width - 1) * table + (config->tied_embeddings ? table : 0);
  }
  std::uint64_t available = memory_info().available;
  if (group.rank(0).device().kind == DeviceKind::cuda) {  // the host only maps them
    available = 0;
    for (std::int32_t rank = 0; rank < group.width(); ++rank) {
      const auto gpu = gpu_memory(group.rank(rank).device());
      if (!gpu) return gpu.error();
      available += gpu->free;
    }
  }
  if (bytes <= available) return {};
  return make_error(ErrorCode::out_of_memory,
                    "the weights in " + directory.string() + " take " + format_size(bytes) + ", but only " +
                        format_size(available) + " of memory are available",
                    "--model");
}

}  // namespace baton
