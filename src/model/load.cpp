// load_model: a directory's config and checkpoint become a model. Every family of capability.cpp is a variant
// of one decoder; config.cpp says in what they differ.
#include "baton/model/model.hpp"
#include "model/checkpoint.hpp"
#include "model/decoder.hpp"

namespace baton {

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadProgress& progress) {
  auto config = load_model_config(directory);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  return DecoderModel::load(*std::move(config), *checkpoint, ops, progress);
}

}  // namespace baton
