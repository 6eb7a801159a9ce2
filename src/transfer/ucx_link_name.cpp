#include "ucx_link_name.hpp"

#include <cstdio>
#include <cstdlib>

namespace baton::transfer {

// Lines such as "#   lane[1]:  3:tcp/eth0.0 md[1]  -> addr[2].md[1]/tcp/sysdev[255] am am_bw#0 wireup".
std::string link_name_of(std::string_view info) {
  std::string name;
  while (!info.empty()) {
    const auto end = info.find('\n');
    std::string_view line = info.substr(0, end);
    info = end == std::string_view::npos ? std::string_view{} : info.substr(end + 1);
    const auto lane = line.find("lane[");
    const auto slash = line.find('/');
    if (lane == std::string_view::npos || slash == std::string_view::npos) continue;
    const auto colon = line.rfind(':', slash);
    if (colon == std::string_view::npos || colon < lane) continue;
    const std::string transport(line.substr(colon + 1, slash - colon - 1));
    if (line.find("rma_bw") != std::string_view::npos) return transport;  // bulk goes this way
    if (name.empty() || line.find(" am ") != std::string_view::npos) name = transport;
  }
  return name;
}

std::string ucx_link_name(ucp_ep_h ep) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* stream = open_memstream(&text, &size);
  if (stream == nullptr) return {};
  ucp_ep_print_info(ep, stream);
  std::fclose(stream);
  std::string name = link_name_of({text, size});
  std::free(text);
  return name;
}

}  // namespace baton::transfer
