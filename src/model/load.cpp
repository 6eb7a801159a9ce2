// load_model: a directory's config and checkpoint become a model. Every family of capability.cpp is a variant
// of one decoder; config.cpp says in what they differ.
#include <new>

#include "baton/model/model.hpp"
#include "model/checkpoint.hpp"
#include "model/decoder.hpp"
#include "model/group_model.hpp"

namespace baton {
namespace {

// load(files) with what lies in the directories.
template <class Load>
Result<std::unique_ptr<Model>> load_from(const std::filesystem::path& directory, const LoadOptions& options,
                                         Load load) {
  auto config = load_model_config(directory, options.max_context);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  std::vector<Adapter> adapters;
  for (const AdapterSource& source : options.adapters) {
    auto adapter = Adapter::open(source);
    if (!adapter) return std::move(adapter).error();
    adapters.push_back(*std::move(adapter));
  }
  try {
    return load(ModelFiles{*config, *checkpoint, adapters});
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory, "no memory left for the model's weights");
  }
}

}  // namespace

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadOptions& options) {
  return load_from(directory, options, [&](const ModelFiles& files) {
    return DecoderModel::load(files, ops, options.progress, options.quantization);
  });
}

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, OpsGroup& group,
                                          const LoadOptions& options) {
  if (group.width() == 1) return load_model(directory, group.rank(0), options);
  return load_from(directory, options, [&](const ModelFiles& files) {
    return GroupModel::load(files, group, options.progress, options.quantization);
  });
}

}  // namespace baton
