// load_model: which class reads which architecture. A new family is one more line here and one more name in
// config.cpp.
#include "baton/model/model.hpp"
#include "model/checkpoint.hpp"
#include "model/llama.hpp"

namespace baton {

Result<std::unique_ptr<Model>> load_model(const std::filesystem::path& directory, Ops& ops,
                                          const LoadProgress& progress) {
  auto config = load_model_config(directory);
  if (!config) return std::move(config).error();
  auto checkpoint = Checkpoint::open(directory);
  if (!checkpoint) return std::move(checkpoint).error();
  if (config->architecture == "LlamaForCausalLM")
    return LlamaModel::load(*std::move(config), *checkpoint, ops, progress);
  return make_error(ErrorCode::internal, "no class loads architecture '" + config->architecture + "'");
}

}  // namespace baton
