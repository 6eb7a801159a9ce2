#include "app/system.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>

#include "baton/base/units.hpp"

namespace baton {
namespace {

std::uint64_t read_number(const char* file, std::uint64_t otherwise) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  return in >> number ? number : otherwise;
}

// `folder`, known by what it holds: beside the build folder, or under a package's share.
std::filesystem::path find_data(const std::filesystem::path& folder, const char* holds) {
  std::error_code error;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = binary.parent_path().parent_path();
  for (const std::filesystem::path& place :
       {beside, beside / "share/baton", std::filesystem::path("/usr/share/baton")})
    if (std::filesystem::exists(place / folder / holds, error)) return place / folder;
  return {};
}

// A bar that `amount` puts the total's text behind; redrawn at each new percent.
std::function<void(std::uint64_t, std::uint64_t)> progress_bar(std::string what,
                                                               std::string (*amount)(std::uint64_t)) {
  if (::isatty(STDERR_FILENO) == 0) return {};
  auto shown = std::make_shared<int>(-1);  // shared: std::function must be copyable
  return [what = std::move(what), amount, shown](std::uint64_t done, std::uint64_t total) {
    const int percent = total == 0 ? 100 : static_cast<int>(done * 100 / total);
    if (percent == *shown) return;
    *shown = percent;
    std::fprintf(stderr, "\r%s%s", bar_text(what, percent, "of " + amount(total)).c_str(),
                 percent == 100 ? "\n" : "");
  };
}

}  // namespace

MemoryInfo memory_info() {
  MemoryInfo info;
  std::ifstream in("/proc/meminfo");
  std::string name, unit;
  std::uint64_t kib = 0;
  while (in >> name >> kib) {
    std::getline(in, unit);
    if (name == "MemTotal:") info.total = kib << 10;
    if (name == "MemAvailable:") info.available = kib << 10;
  }
  const std::uint64_t limit = read_number("/sys/fs/cgroup/memory.max", ~0ULL);
  if (limit < info.total) {
    const std::uint64_t used = read_number("/sys/fs/cgroup/memory.current", 0);
    info.total = limit;
    info.available = std::min(info.available, limit > used ? limit - used : 0);
  }
  return info;
}

std::filesystem::path find_demo_model() { return find_data("models/demo", "config.json"); }
std::filesystem::path find_configs() { return find_data("configs", "systems"); }

Result<void> port_is_free(std::uint16_t port) {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return make_error(ErrorCode::io, std::strerror(errno));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int one = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const bool bound = ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int why = errno;
  ::close(probe);
  if (!bound) return make_error(ErrorCode::io, std::string("taken: ") + std::strerror(why));
  return {};
}

std::string bar_text(const std::string& what, int percent, const std::string& tail) {
  constexpr int kWidth = 30;
  std::string bar(static_cast<std::size_t>(percent * kWidth / 100), '#');
  bar.resize(kWidth, ' ');
  const std::string number = std::to_string(percent);
  return what + " [" + bar + "] " + std::string(3 - std::min<std::size_t>(3, number.size()), ' ') + number +
         " % " + tail;
}

LoadProgress terminal_progress(std::string what) { return progress_bar(std::move(what), format_size); }
std::function<void(std::size_t, std::size_t)> count_progress(std::string what) {
  return progress_bar(std::move(what), [](std::uint64_t count) { return std::to_string(count); });
}

}  // namespace baton
