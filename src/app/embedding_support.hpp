// Whether a daemon answers POST /v1/embeddings with its model.
#pragma once

#include <filesystem>
#include <string>

namespace baton {

// Empty where it does: with the setting "on", or with "auto" where the directory says that the model was
// trained for it and pools as we do, by the last token. Otherwise a sentence for clients.
std::string why_no_embeddings(const std::string& setting, const std::filesystem::path& directory);

}  // namespace baton
