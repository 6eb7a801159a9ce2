// An HttpServer over the stand-ins: for checking with real clients (curl, the openai package, promtool).
// Usage: frontend_demo_server PORT. Answers "Hello from the demo." and ends on end of input.
#include <cstdio>
#include <cstdlib>

#include "baton/frontend/server.hpp"
#include "frontend/fakes.hpp"

int main(int argc, char** argv) {
  using namespace baton;
  test::FakeService service;
  test::FakeService::Behaviour behaviour;
  behaviour.script = [](const Request&) { return test::ids_of("Hello from the demo."); };
  behaviour.handoff = {"node-a", "node-b", 4, 1, 65536, "loopback", 0.5, false};
  service.configure(behaviour);
  const test::ByteTokenizer tokenizer;
  const test::LinesTemplate lines;
  PrometheusMetrics metrics;
  ServedModel model;
  model.names = {"org/Demo"};
  model.context = 4096;
  model.created = 1700000000;
  model.generation.eos_token_ids = {test::kEos};
  model.vocab = test::kVocab;
  FrontendOptions options;
  options.port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  options.node_name = "node-a";
  HttpServer server(options, {service, tokenizer, &lines, model, metrics, [&] { return metrics.text(); },
                              [] { return EngineStats(); }, [] { return true; },
                              [] {
                                return nlohmann::json{{"nodes", nlohmann::json::array()}};
                              },
                              nullptr, nullptr, null_logger()});
  const auto port = server.start();
  if (!port) {
    std::fprintf(stderr, "%s\n", port.error().message.c_str());
    return 1;
  }
  std::printf("%d\n", *port);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  server.stop_accepting();
  return server.drain(std::chrono::seconds(5)) ? 0 : 2;
}
