// What the app asks the machine: memory, its own place, a terminal to draw progress on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "baton/base/result.hpp"
#include "baton/model/model.hpp"

namespace baton {

struct MemoryInfo {
  std::uint64_t total = 0;      // bytes
  std::uint64_t available = 0;  // bytes, without swapping
};
MemoryInfo memory_info();  // a container's limit counts where it is lower

// models/demo beside the binary's build folder, or where a package puts it; empty where there is none.
std::filesystem::path find_demo_model();

// configs beside the binary's build folder, or where a package puts it; empty where there is none.
std::filesystem::path find_configs();

// io with the system's reason where 127.0.0.1:port cannot be bound.
Result<void> port_is_free(std::uint16_t port);

// "what [####      ]  40 % tail", to be drawn over itself.
std::string bar_text(const std::string& what, int percent, const std::string& tail);

// A progress bar on stderr where that is a terminal; otherwise nothing.
LoadProgress terminal_progress(std::string what);
std::function<void(std::size_t, std::size_t)> count_progress(std::string what);  // of things instead of bytes

}  // namespace baton
