# The two header-only libraries of the engine's folders, without their packages: from the system or from BATON_HEADERS.

set(BATON_HEADERS "" CACHE PATH "Folder with nlohmann/json.hpp and xxhash.h, where the system has none")
find_path(BATON_JSON_INCLUDE nlohmann/json.hpp HINTS ${BATON_HEADERS} REQUIRED)
find_path(BATON_XXHASH_INCLUDE xxhash.h HINTS ${BATON_HEADERS} REQUIRED)
add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
set_target_properties(nlohmann_json::nlohmann_json PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
  "${BATON_JSON_INCLUDE};${BATON_XXHASH_INCLUDE}")
include_directories(SYSTEM ${BATON_XXHASH_INCLUDE})
