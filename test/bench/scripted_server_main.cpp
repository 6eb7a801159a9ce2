// A scripted server by itself: scripted_server PORT TTFT_MS ITL_MS TOKENS; ends with SIGTERM.
#include <cstdio>
#include <exception>

#include "bench/scripted_server.hpp"

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "usage: scripted_server PORT TTFT_MS ITL_MS TOKENS\n");
    return 2;
  }
  baton::bench_test::Script script;
  script.ttft = std::atof(argv[2]) / 1e3;
  script.itl = std::atof(argv[3]) / 1e3;
  script.tokens = std::atoi(argv[4]);
  baton::bench_test::ScriptedServer server(script, static_cast<std::uint16_t>(std::atoi(argv[1])));
  server.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "scripted_server: %s\n", error.what());
  return 1;
}
