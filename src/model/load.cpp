// load_model: a directory's config and checkpoint become a model. Every family of capability.cpp is a variant
// of one decoder; config.cpp says in what they differ.
#include "baton/model/model.hpp"
#include "model/checkpoint.hpp"
#include "model/decoder.hpp"
#include "model/group_model.hpp"

namespace baton {

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadProgress& progress, Quantization quantization) {
  auto config = load_model_config(directory);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  return DecoderModel::load(*std::move(config), *checkpoint, ops, progress, quantization);
}

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, OpsGroup& group,
                                          const LoadProgress& progress, Quantization quantization) {
  if (group.width() == 1) return load_model(directory, group.rank(0), progress, quantization);
  auto config = load_model_config(directory);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  return GroupModel::load(*config, *checkpoint, group, progress, quantization);
}

}  // namespace baton
