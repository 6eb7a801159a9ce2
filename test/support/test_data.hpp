// Where tests find data: the project's own tree, and the optional test-data folder (BATON_TEST_DATA, or
// ../shared beside the checkout). A test that needs the optional folder calls `shared_data` and, where that
// is empty, says `skipped` and returns.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

namespace baton::test {

inline std::filesystem::path source_dir() {
  if (const char* dir = std::getenv("BATON_SOURCE_DIR")) return dir;
  return std::filesystem::current_path();
}

inline std::optional<std::filesystem::path> shared_data(const std::string& relative) {
  const char* env = std::getenv("BATON_TEST_DATA");
  const std::filesystem::path root = env ? std::filesystem::path(env) : source_dir() / ".." / "shared";
  std::error_code error;
  if (!std::filesystem::exists(root / relative, error)) return std::nullopt;
  return root / relative;
}

// Prints the line that scripts/test.sh counts. `needs` is "shared", "root", "gpu" or "python".
inline void skipped(const std::string& what, const std::string& needs) {
  std::cout << "BATON-SKIPPED[" << needs << "] " << what << std::endl;
}

}  // namespace baton::test
