// How a model that was trained to embed makes one vector of a text, as sentence-transformers writes it down.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"

namespace baton {

inline constexpr std::string_view kLastTokenPooling = "lasttoken";

// From <directory>/1_Pooling/config.json: its modes, as "lasttoken" or "mean_tokens"; the vectors of several
// are put one behind the other. Empty where there is no such file. Errors name the file, and where it is not
// what it should be the key.
Result<std::vector<std::string>> load_pooling(const std::filesystem::path& directory);
Result<std::vector<std::string>> parse_pooling(std::string_view pooling_json);  // at least one

}  // namespace baton
