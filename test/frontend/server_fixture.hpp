// An HttpServer over the stand-ins, and what every test of it asks first.
#pragma once

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "baton/frontend/server.hpp"
#include "frontend/fakes.hpp"
#include "frontend/raw_client.hpp"
#include "support/catch.hpp"

namespace baton::test {

inline FrontendOptions options() {
  FrontendOptions out;
  out.port = 0;
  out.io_threads = 2;
  out.text_threads = 2;
  out.node_name = "node-a";
  return out;
}

inline ServedModel served() {
  ServedModel model;
  model.names = {"org/Demo", "alias"};
  model.context = 200000;
  model.created = 1700000000;
  model.generation.eos_token_ids = {kEos};
  model.vocab = kVocab;
  model.hidden = 4;
  return model;
}

struct Fixture {
  explicit Fixture(FrontendOptions given = options(), std::int32_t context = 200000, AnswerFormat answer = {},
                   std::string bos = "<s>", GrammarCompiler* grammars = nullptr,
                   std::string no_embeddings = {})
      : tokenizer(std::move(bos)),
        server(given, services(context, answer, grammars, std::move(no_embeddings))) {
    const auto bound = server.start();
    REQUIRE(bound);
    port = *bound;
  }
  FrontendServices services(std::int32_t context, AnswerFormat answer = {},
                            GrammarCompiler* grammars = nullptr, std::string no_embeddings = {}) {
    ServedModel model = served();
    model.context = context;
    model.answer = answer;
    model.no_embeddings = std::move(no_embeddings);
    return {service,
            tokenizer,
            &lines,
            model,
            metrics,
            [this] { return metrics.text(); },
            [] {
              EngineStats stats;
              stats.running = 3;
              return stats;
            },
            [this] { return is_ready.load(); },
            [] {
              return nlohmann::json{{"nodes", {"node-a"}}};
            },
            [](const Request& request) -> Result<nlohmann::json> {
              if (request.prompt.size() == 1 && request.prompt[0] == 99)
                return make_error(ErrorCode::deadline_exceeded, "too busy");
              return nlohmann::json{{"prompt_tokens", request.prompt.size()},
                                    {"max_tokens", request.stop.max_tokens},
                                    {"salt", request.cache_salt}};
            },
            [](const std::string& node, Role) -> Result<Role> {
              if (node == "node b") return Role::mixed;
              return make_error(ErrorCode::not_found, "no such engine", "id");
            },
            null_logger(),
            grammars};
  }
  RawReply post(const std::string& path, const std::string& body) {
    RawClient client(port);
    client.post(path, body);
    return client.read();
  }
  RawReply get(const std::string& path) {
    RawClient client(port);
    client.get(path);
    return client.read();
  }
  bool idle() {
    return eventually([&] { return service.live() == 0; });
  }

  FakeService service;
  ByteTokenizer tokenizer;
  LinesTemplate lines;
  PrometheusMetrics metrics;
  std::atomic<bool> is_ready{true};
  HttpServer server;
  std::uint16_t port = 0;
};

inline std::string chat(const std::string& extra = "", const std::string& text = "hi") {
  return R"({"model":"org/Demo","messages":[{"role":"user","content":")" + text + R"("}])" +
         (extra.empty() ? "" : "," + extra) + "}";
}

inline FakeService::Behaviour says(const std::string& text) {
  FakeService::Behaviour behaviour;
  behaviour.script = [text](const Request&) { return ids_of(text); };
  return behaviour;
}

// The events of an SSE body; "[DONE]" becomes a string.
inline std::vector<nlohmann::json> events_of(const std::string& body) {
  std::vector<nlohmann::json> out;
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t end = body.find("\n\n", at);
    REQUIRE(end != std::string::npos);
    const std::string line = body.substr(at, end - at);
    REQUIRE(line.starts_with("data: "));
    out.push_back(line == "data: [DONE]" ? nlohmann::json("[DONE]") : nlohmann::json::parse(line.substr(6)));
    at = end + 2;
  }
  return out;
}

inline nlohmann::json error_of(const RawReply& reply) { return nlohmann::json::parse(reply.body)["error"]; }

}  // namespace baton::test
