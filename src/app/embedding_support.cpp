#include "app/embedding_support.hpp"

#include "baton/model/pooling.hpp"

namespace baton {

std::string why_no_embeddings(const std::string& setting, const std::filesystem::path& directory) {
  if (setting == "on") return {};
  if (setting == "off") return "This daemon makes no embeddings: it was started with --embeddings off.";
  const auto modes = load_pooling(directory);
  if (!modes) return "This model makes no embeddings: " + modes.error().message + ".";
  if (modes->empty())
    return "This model generates text: start the daemon with --embeddings on to embed with it.";
  if (modes->size() == 1 && modes->front() == kLastTokenPooling) return {};
  std::string named;
  for (const std::string& mode : *modes) named += (named.empty() ? "'" : " and '") + mode + "'";
  return "This model pools by " + named + "; supported: '" + std::string(kLastTokenPooling) + "'.";
}

}  // namespace baton
