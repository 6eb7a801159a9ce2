// Reading the golden data of this folder (made by make_goldens.py).
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "support/test_data.hpp"

namespace baton::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline std::filesystem::path text_data() { return source_dir() / "test" / "text" / "data"; }

inline nlohmann::ordered_json read_goldens(const std::string& name) {
  return nlohmann::ordered_json::parse(read_text(text_data() / name));
}

}  // namespace baton::test
