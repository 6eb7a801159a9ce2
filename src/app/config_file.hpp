// A TOML file over configuration rows. Unknown keys are errors that name the key and the line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "baton/base/config.hpp"

namespace baton {

// `open_table`: a table whose keys are free (e.g. [ucx]); its entries go to `open_entries`.
struct OpenTable {
  std::string name;
  std::map<std::string, std::string>* entries = nullptr;
};

Result<void> apply_config_file(const std::filesystem::path& file, std::vector<ConfigRow>& rows,
                               const OpenTable& open_table);

}  // namespace baton
