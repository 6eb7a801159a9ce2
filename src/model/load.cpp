// load_model: a directory's config and checkpoint become a model. Every family of capability.cpp is a variant
// of one decoder; config.cpp says in what they differ.
#include <new>

#include "baton/model/model.hpp"
#include "model/checkpoint.hpp"
#include "model/decoder.hpp"
#include "model/group_model.hpp"

namespace baton {
namespace {

// load(config, checkpoint) with what lies in the directory.
template <class Load>
Result<std::unique_ptr<Model>> load_from(const std::filesystem::path& directory, Load load) {
  auto config = load_model_config(directory);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  try {
    return load(*config, *checkpoint);
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory, "no memory left for the model's weights");
  }
}

}  // namespace

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadProgress& progress, Quantization quantization) {
  return load_from(directory, [&](const ModelConfig& config, const Checkpoint& checkpoint) {
    return DecoderModel::load(config, checkpoint, ops, progress, quantization);
  });
}

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, OpsGroup& group,
                                          const LoadProgress& progress, Quantization quantization) {
  if (group.width() == 1) return load_model(directory, group.rank(0), progress, quantization);
  return load_from(directory, [&](const ModelConfig& config, const Checkpoint& checkpoint) {
    return GroupModel::load(config, checkpoint, group, progress, quantization);
  });
}

}  // namespace baton
